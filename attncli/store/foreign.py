"""Attention maps of other tools: an array file and its labels, read as `Attention`."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from attncli.data import KINDS, Array, Attention, Input, Kind, LayerMaps, RunInfo, Text, Tokens
from attncli.errors import UsageError, did_you_mean
from attncli.inputs.text_files import check_exists, display_name, read_file_text, read_lines
from attncli.store.arrays import load_arrays

AXES = ("text", "layer", "head", "query", "key")
SUFFIXES = (".npz", ".npy", ".safetensors")


def read_maps(
    path: str | Path,
    labels: str | Path | None = None,
    key_labels: str | Path | None = None,
    *,
    array: str | None = None,
    kind: Kind | None = None,
) -> tuple[Attention, ...]:
    """Return the maps in an array with axes [text, layer, head, query, key]; the first one to three may be missing.

    labels      file with one query token per line, or a `.json` list of tokens; None: tokens are named by position
    key_labels  file with the key tokens; None: the query tokens
    array       name of the array, needed if the file has several
    kind        None: `encoder` if queries and keys are the same tokens, else `cross`

    Raise UsageError unless weights are finite and not negative, and rows sum to at most 1. If all maps of a text are
    exactly zero above the diagonal, they are causal: keys after the query are masked.
    """
    check_exists(path)
    if Path(path).suffix.lower() not in SUFFIXES:
        raise UsageError(f"cannot tell what {path} is: expected a file that ends in {', '.join(SUFFIXES)}")
    (loaded,) = load_arrays(Path(path), lambda names: [_choose_array(path, names, array)]).values()
    weights = _five_axes(path, loaded)
    _check_weights(path, weights)
    queries, keys = _sides(path, weights.shape, labels, key_labels)
    kind = _kind(path, kind, same=queries is keys)
    return tuple(_attention(text, maps, queries, keys, kind) for text, maps in enumerate(weights))


def as_inputs(attention: Sequence[Attention]) -> tuple[Input, ...]:
    """Return one input per text, with the tokens of its maps."""
    inputs = []
    for maps in attention:
        source, target = (maps.keys, maps.queries) if maps.kind == "cross" else (maps.queries, None)
        inputs.append(Input(maps.text, Text(" ".join(maps.queries.pieces)), source, target))
    return tuple(inputs)


def maps_info(path: str | Path) -> RunInfo:
    """Return the description of a run for these maps: the file name as model, the hash of the file as input hash."""
    with Path(path).open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return RunInfo(Path(path).name, cls="file", capture="file", input_sha256=sha256)


def _choose_array(path: str | Path, names: Sequence[str], array: str | None) -> str:
    if any(name.endswith(".norms") for name in names):  # as in saved runs of attncli
        raise UsageError(f"{path} contains value-weighted norms, not weights: give its folder, and --by norm")
    if array is not None:
        if array not in names:
            raise UsageError(f"{path} has no array '{array}': {did_you_mean(array, names)}")
        return array
    if len(names) != 1:
        known = f" ({', '.join(names)}): choose one with --array" if names else ": save the maps in it first"
        raise UsageError(f"expected one array in {path}, got {len(names)}{known}")
    return names[0]


def _five_axes(path: str | Path, array: Array) -> Array:
    """Return the array with five axes; raise UsageError if it cannot contain maps."""
    if array.dtype.kind not in "fiub":
        raise UsageError(f"{path}: expected an array of numbers, got dtype {array.dtype}: save it as float32")
    if not 2 <= array.ndim <= 5:
        expected = "expected 2 to 5 axes (query, key; optionally head, layer and text before them)"
        raise UsageError(f"{path}: {expected}, got {array.ndim}, shape {array.shape}: reshape the array")
    if 0 in array.shape:
        raise UsageError(f"{path}: expected at least one entry on each axis, got shape {array.shape}")
    return array.reshape((1,) * (5 - array.ndim) + array.shape)


def _check_weights(path: str | Path, weights: Array) -> None:
    tolerance = 1e-2 if weights.dtype == np.float16 else 1e-3
    for text, layer in np.ndindex(weights.shape[:2]):
        maps = weights[text, layer].astype(np.float64)
        _refuse_if(path, ~np.isfinite(maps), maps, (text, layer), "finite numbers")
        _refuse_if(path, maps < 0, maps, (text, layer), "weights from 0 to 1 (not scores)")
        sums = maps.sum(-1)
        _refuse_if(path, sums > 1 + tolerance, sums, (text, layer), "rows that sum to 1 or less")


def _refuse_if(path: str | Path, wrong: Array, values: Array, prefix: tuple[int, int], expected: str) -> None:
    """Raise UsageError with the first wrong value, if any; `prefix` is its text and layer."""
    if wrong.any():
        first = tuple(int(index) for index in np.argwhere(wrong)[0])
        location = ", ".join(f"{axis} {index}" for axis, index in zip(AXES, prefix + first, strict=False))
        raise UsageError(f"{path}: expected {expected}, got {values[first]:.6g} at {location}: check the array")


def _sides(
    path: str | Path, shape: tuple[int, ...], labels: str | Path | None, key_labels: str | Path | None
) -> tuple[Tokens, Tokens]:
    """Return query and key tokens; the same object if they are the same tokens."""
    query_count, key_count = shape[-2:]
    queries = _tokens(labels, query_count, f"queries in {path}")
    if key_labels is None and query_count == key_count:
        return queries, queries
    if key_labels is None and labels is not None:
        raise UsageError(
            f"{path} has {query_count} queries and {key_count} keys: "
            "--labels names the queries, name the keys with --key-labels"
        )
    keys = _tokens(key_labels, key_count, f"keys in {path}")
    return queries, queries if keys.pieces == queries.pieces else keys


def _tokens(labels: str | Path | None, count: int, what: str) -> Tokens:
    """Return the tokens of a file of labels, or tokens named by position; `what` names them in the error."""
    if labels is None:
        return Tokens.plain([str(position) for position in range(count)])
    pieces = _labels(labels)
    if len(pieces) != count:
        got = f"got {len(pieces)} in {display_name(labels)}"
        raise UsageError(f"expected one label for each of the {count} {what}, {got}: one per line")
    return Tokens.plain(pieces)


def _labels(path: str | Path) -> list[str]:
    """Return one label per line, unchanged; a final `\\r` is part of a label unless every line has one."""
    check_exists(path)
    if Path(path).suffix.lower() == ".json":
        return _json_labels(path)
    lines = [line.removesuffix("\n") for line, _ in read_lines(path, keep_ends=True)]
    have_returns = all(line.endswith("\r") for line in lines)
    return [line.removesuffix("\r") for line in lines] if have_returns else lines


def _json_labels(path: str | Path) -> list[str]:
    text = read_file_text(path)
    try:
        labels = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not JSON: {error}; expected a list of texts") from error
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise UsageError(f"{path}: expected a JSON list of texts, one for each token")
    return labels


def _kind(path: str | Path, kind: Kind | None, same: bool) -> Kind:
    if kind is None:
        return "encoder" if same else "cross"
    if kind not in KINDS:
        raise UsageError(f"unknown kind '{kind}': {did_you_mean(kind, KINDS)}")
    if kind != "cross" and not same:
        raise UsageError(
            f"{path}: maps of kind '{kind}' have the same tokens as queries and keys, these differ: "
            "use --kind cross, or one set of labels for a square map"
        )
    return kind


def _attention(text: int, weights: Array, queries: Tokens, keys: Tokens, kind: Kind) -> Attention:
    is_causal = kind != "cross" and len(queries) > 1 and not np.triu(weights, 1).any()
    visible = np.tri(len(queries), dtype=bool)[None] if is_causal else None
    layers = tuple(LayerMaps(layer, tuple(range(len(maps))), maps, visible) for layer, maps in enumerate(weights))
    return Attention(kind, queries, keys, layers, text=text)
