"""Attention maps of other tools: an array file and its labels, read as `Attention`."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from attncli.data import KINDS, Array, Attention, Input, Kind, LayerMaps, RunInfo, Text, Tokens
from attncli.errors import UsageError, did_you_mean
from attncli.inputs.tensor_files import load_tensors
from attncli.inputs.text_files import check_exists, check_text, display_name, read_file_text, read_lines
from attncli.store.arrays import load_arrays
from attncli.store.foreign_axes import AXES, LayerArrays, join_layers, join_steps, layer_names, parse_axes, split_array
from attncli.store.headers import Fits, any_size
from attncli.store.possible import Limits, find_impossible
from attncli.store.runs import RunParts

ARRAY_SUFFIXES = (".npz", ".npy", ".safetensors")
TENSOR_SUFFIXES = (".pt", ".pth")


def open_maps(
    path: str | Path,
    labels: str | Path | None = None,
    key_labels: str | Path | None = None,
    *,
    array: str | None = None,
    kind: Kind | None = None,
    axes: str | None = None,
    fits: Fits = any_size,
) -> RunParts:
    """Return the maps in a file of another tool as a run.

    labels      file with one query token per line, or a `.json` list of tokens; None: tokens are named by position
    key_labels  file with the key tokens; None: the query tokens
    array       name of the array, needed if the file has several, unless they are named `layer_0`, `layer_1`, …
    kind        None: `encoder` if queries and keys are the same tokens, else `cross`; titles then name no kind
    axes        names of the axes in their order; None: query and key are last, before them head, layer and text
    fits        receives the bytes that the maps need in memory, and raises an error if they are too many

    Raise UsageError for a shape that can be read in two ways if `axes` is None, and unless weights are finite and not
    negative, and rows sum to at most 1. If all maps of a text are exactly zero above the diagonal, they are causal:
    keys after the query are masked.
    """
    names = None if axes is None else parse_axes(axes)
    check_exists(path)
    suffix = Path(path).suffix.lower()
    if suffix not in (*ARRAY_SUFFIXES, *TENSOR_SUFFIXES):
        expected = ", ".join((*ARRAY_SUFFIXES, *TENSOR_SUFFIXES))
        raise UsageError(f"cannot tell what {path} is: expected a file that ends in {expected}")
    load = load_tensors if suffix in TENSOR_SUFFIXES else load_arrays
    loaded = load(Path(path), lambda known: _choose_arrays(path, known, array), fits)
    read = _layers(path, loaded, names, kind)
    _check_weights(path, read.layers, half=suffix in TENSOR_SUFFIXES)
    queries, keys = _sides(path, next(iter(read.layers.values())).shape, labels, key_labels)
    given_kind, kind = kind, _kind(path, kind or read.kind, same=queries is keys)
    texts = range(len(next(iter(read.layers.values()))))
    maps = tuple(_attention(text, read.layers, queries, keys, kind) for text in texts)
    given = (("array", array), ("axes", axes), ("kind", given_kind))
    chosen = {name: value for name, value in given if value is not None}
    return RunParts(maps_info(path, chosen, read.notes), as_inputs(maps), maps)


def _layers(
    path: str | Path, loaded: Mapping[str, Any], axes: tuple[str, ...] | None, kind: Kind | None
) -> LayerArrays:
    """Return the layers of what was read: arrays by layer, one array, a list of layers, or lists of steps."""
    if len(loaded) > 1:
        numbers = layer_names(list(loaded)) or {}
        return join_layers(path, {number: loaded[name] for name, number in numbers.items()}, axes)
    (value,) = loaded.values()
    if not isinstance(value, list):
        return split_array(path, value, axes)
    if isinstance(value[0], list):
        if axes is not None:
            raise UsageError(f"{path}: the axes of the steps of generate are known: leave out --axes")
        return join_steps(path, value, kind)
    return join_layers(path, dict(enumerate(value)), axes)


def as_inputs(attention: Sequence[Attention]) -> tuple[Input, ...]:
    """Return one input per text, with the tokens of its maps."""
    inputs = []
    for maps in attention:
        source, target = (maps.keys, maps.queries) if maps.kind == "cross" else (maps.queries, None)
        inputs.append(Input(maps.text, Text(" ".join(maps.queries.pieces)), source, target))
    return tuple(inputs)


def maps_info(path: str | Path, chosen: Mapping[str, str] | None = None, notes: Sequence[str] = ()) -> RunInfo:
    """Return the description of a run for these maps: the file name as model, the hash of the file as input hash.

    chosen  options that say what is read from the file
    """
    with Path(path).open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    about: Any = {"capture": "file", "resolved": dict(chosen or {}), "notes": tuple(notes)}
    return RunInfo(Path(path).name, cls="file", input_sha256=sha256, **about)


def _choose_arrays(path: str | Path, names: Sequence[str], array: str | None) -> list[str]:
    if any(name.endswith(".norms") for name in names):  # as in saved runs of attncli
        raise UsageError(f"{path} contains value-weighted norms, not weights: give its folder, and --by norm")
    if array is not None:
        if array not in names:
            raise UsageError(f"{path} has no array '{array}': {did_you_mean(array, names)}")
        return [array]
    if (by_layer := layer_names(names)) is not None:
        return list(by_layer)
    if len(names) != 1:
        shown = ", ".join(names[:10]) + (", …" if len(names) > 10 else "")
        advice = f" ({shown}): choose one with --array" if names else ": save the maps in it first"
        if len(names) > 1:
            advice += ", or name them layer_0, layer_1, … if each is a layer"
        raise UsageError(f"expected one array in {path}, got {len(names)}{advice}")
    return list(names)


def _check_weights(path: str | Path, layers: Mapping[int, Array], half: bool) -> None:
    """Raise UsageError with the first wrong weight; with `half`, they may have been computed in half precision."""
    for layer, weights in layers.items():
        tolerance = 1e-2 if half or weights.dtype == np.float16 else 1e-3
        for text, maps in enumerate(weights):
            wrong = find_impossible(maps, Limits(row_sum=1 + tolerance))
            if wrong is not None:
                location = ", ".join(
                    f"{axis} {number}" for axis, number in zip(AXES, (text, layer, *wrong.index), strict=False)
                )
                got = f"got {wrong.value:.6g} at {location}"
                raise UsageError(f"{path}: expected {wrong.expected}, {got}: check the array")


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
    pieces = read_labels(labels)
    if len(pieces) != count:
        got = f"got {len(pieces)} in {display_name(labels)}"
        raise UsageError(f"expected one label for each of the {count} {what}, {got}: one per line")
    return Tokens.plain(pieces)


def read_labels(path: str | Path) -> list[str]:
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
    return [check_text(f"{path}, label {number}", label) for number, label in enumerate(labels)]


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


def _attention(text: int, layers: Mapping[int, Array], queries: Tokens, keys: Tokens, kind: Kind) -> Attention:
    square = kind != "cross" and len(queries) > 1
    is_causal = square and not any(np.triu(head, 1).any() for maps in layers.values() for head in maps[text])
    visible = np.tri(len(queries), dtype=bool)[None] if is_causal else None
    maps = (LayerMaps(number, tuple(range(len(maps[text]))), maps[text], visible) for number, maps in layers.items())
    return Attention(kind, queries, keys, tuple(maps), text=text)
