"""Attention maps from elsewhere: an array file and its labels become maps like all others."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from attncli.data import KINDS, Array, Attention, Input, Kind, LayerMaps, RunInfo, Text, Tokens
from attncli.errors import UsageError, did_you_mean
from attncli.inputs.text_files import check_exists, decoded_lines, decoded_whole, display_name
from attncli.store import load_arrays

AXES = ("text", "layer", "head", "query", "key")
NORMS = ".norms"
"""How arrays of ours end that are no weights."""
SUFFIXES = (".npz", ".npy", ".safetensors")


def read_maps(
    path: str | Path,
    labels: str | Path | None = None,
    key_labels: str | Path | None = None,
    *,
    array: str | None = None,
    kind: Kind | None = None,
) -> tuple[Attention, ...]:
    """The maps of an array of 2 to 5 axes: (query, key), before them head, layer and text as far as they go.

    labels      file with one token a line for the queries, and for the keys too unless `key_labels` says
                otherwise; a `.json` file is a list of texts. Without it tokens are called by their position
    array       which array, where a file holds several
    kind        without it: `encoder` where queries and keys are the same tokens, else `cross`

    Weights must be finite, not negative, and a row may sum to at most 1. Where in all maps of a text everything
    above the diagonal is exactly zero, the maps are taken for causal: row i could see the keys up to i, no others.
    """
    check_exists(path)
    weights = _five_axes(path, _load(Path(path), array))
    _check_weights(path, weights)
    queries, keys = _sides(path, weights.shape, labels, key_labels)
    kind = _kind(path, kind, same=queries is keys)
    return tuple(_attention(text, maps, queries, keys, kind) for text, maps in enumerate(weights))


def as_inputs(attention: Sequence[Attention]) -> tuple[Input, ...]:
    """The inputs that such maps stand for, one per text, as far as they are known: their tokens."""
    return tuple(_as_input(one) for one in attention)


def maps_info(path: str | Path) -> RunInfo:
    """Where such maps come from: the file stands for the model, the hash of its bytes for that of the input."""
    with Path(path).open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return RunInfo(Path(path).name, cls="file", capture="file", input_sha256=sha256)


def _as_input(one: Attention) -> Input:
    text = Text(" ".join(one.queries.pieces))
    if one.kind == "cross":
        return Input(one.text, text, source=one.keys, target=one.queries)
    return Input(one.text, text, source=one.queries)


def _load(path: Path, name: str | None) -> Array:
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"cannot tell what {path} is: expected a file that ends in {', '.join(SUFFIXES)}")
    (array,) = load_arrays(path, lambda names: [_choose(path, names, name)]).values()
    return array


def _choose(path: Path, names: Sequence[str], wanted: str | None) -> str:
    if any(name.endswith(NORMS) for name in names):
        raise UsageError(f"{path} holds value-weighted norms, not weights: give its folder, and --by norm")
    if wanted is not None:
        if wanted not in names:
            raise UsageError(f"{path} has no array '{wanted}': {did_you_mean(wanted, names)}")
        return wanted
    if len(names) != 1:
        known = f" ({', '.join(names)}): choose one with --array" if names else ": save the maps there first"
        raise UsageError(f"expected one array in {path}, got {len(names)}{known}")
    return names[0]


def _five_axes(path: str | Path, array: Array) -> Array:
    if array.dtype.kind not in "fiub":
        raise UsageError(f"{path}: expected an array of numbers, got dtype {array.dtype}: save it as float32")
    if not 2 <= array.ndim <= 5:
        raise UsageError(
            f"{path}: expected 2 to 5 axes (query, key; before them head, layer and text as far as they go), "
            f"got {array.ndim}, shape {array.shape}: reshape the array"
        )
    if 0 in array.shape:
        raise UsageError(f"{path}: expected at least one entry on each axis, got shape {array.shape}")
    return array.reshape((1,) * (5 - array.ndim) + array.shape)


def _check_weights(path: str | Path, weights: Array) -> None:
    tolerance = 1e-2 if weights.dtype == np.float16 else 1e-3
    for text, layer in np.ndindex(weights.shape[:2]):
        maps = weights[text, layer].astype(np.float64)
        _refuse(path, ~np.isfinite(maps), maps, (text, layer), "finite numbers")
        _refuse(path, maps < 0, maps, (text, layer), "weights from 0 to 1 (not scores)")
        sums = maps.sum(-1)
        _refuse(path, sums > 1 + tolerance, sums, (text, layer), "rows that sum to 1 or less")


def _refuse(path: str | Path, wrong: Array, values: Array, lead: tuple[int, int], expected: str) -> None:
    if wrong.any():
        first = tuple(int(at) for at in np.argwhere(wrong)[0])
        place = ", ".join(f"{axis} {at}" for axis, at in zip(AXES, lead + first, strict=False))
        raise UsageError(f"{path}: expected {expected}, got {values[first]:.6g} at {place}: check the array")


def _sides(
    path: str | Path, shape: tuple[int, ...], labels: str | Path | None, key_labels: str | Path | None
) -> tuple[Tokens, Tokens]:
    """Query and key tokens; one object where they are the same."""
    n, m = shape[-2:]
    queries = _tokens(labels, n, f"queries in {path}")
    if key_labels is None and n == m:
        return queries, queries
    if key_labels is None and labels is not None:
        raise UsageError(
            f"{path} has {n} queries and {m} keys: --labels names the queries, name the keys with --key-labels"
        )
    keys = _tokens(key_labels, m, f"keys in {path}")
    return queries, queries if keys.pieces == queries.pieces else keys


def _tokens(labels: str | Path | None, count: int, what: str) -> Tokens:
    if labels is None:
        return Tokens.plain([str(position) for position in range(count)])
    pieces = _labels(labels)
    if len(pieces) != count:
        got = f"got {len(pieces)} in {display_name(labels)}"
        raise UsageError(f"expected one label for each of the {count} {what}, {got}: one a line")
    return Tokens.plain(pieces)


def _labels(path: str | Path) -> list[str]:
    """One label a line, kept as it is; `\\r` at its end is part of it unless every line has one."""
    check_exists(path)
    if Path(path).suffix.lower() == ".json":
        return _json_labels(path)
    lines = [line.removesuffix("\n") for line, _ in decoded_lines(path, keep_ends=True)]
    if lines and all(line.endswith("\r") for line in lines):
        return [line.removesuffix("\r") for line in lines]
    return lines


def _json_labels(path: str | Path) -> list[str]:
    try:
        labels = json.loads(decoded_whole(path))
    except UsageError:
        raise
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
