"""The axes of maps of other tools: which axis is which, and one array [text, head, query, key] for each layer."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from attncli.data import Array, Kind
from attncli.errors import UsageError, did_you_mean

AXES = ("text", "layer", "head", "query", "key")
_ORDER = ("layer", "text", "head", "query", "key")
_DEFAULT = "expected 2 to 5 axes (query, key; optionally head, layer and text before them)"
_LAYER_NAME = re.compile(r"layers?[ _.\-/]*(\d{1,6})", re.IGNORECASE)


@dataclass(frozen=True)
class LayerArrays:
    """The maps of other tools, by layer.

    layers  [text, head, query, key] by layer number
    kind    kind of attention, if the arrays tell it
    notes   how axes were read, if the user did not say it
    """

    layers: Mapping[int, Array]
    kind: Kind | None = None
    notes: tuple[str, ...] = ()


def parse_axes(axes: str) -> tuple[str, ...]:
    """Return names of axes, such as `batch,head,query,key`; batch is another word for text.

    >>> parse_axes("batch, head, query, key")
    ('text', 'head', 'query', 'key')
    """
    if not isinstance(axes, str):
        raise UsageError(f"expected axes such as 'layer,text,head,query,key', got {axes!r}")
    names = tuple("text" if (name := part.strip()) == "batch" else name for part in axes.split(","))
    for name in names:
        if name not in AXES:
            raise UsageError(f"unknown axis '{name[:50]}' in --axes: {did_you_mean(name[:50], (*AXES, 'batch'))}")
    if len(set(names)) != len(names) or not {"query", "key"} <= set(names):
        raise UsageError(f"expected --axes with query and key, and each axis once, got '{axes[:100]}'")
    return names


def layer_names(names: Sequence[str]) -> dict[str, int] | None:
    """Return the layer number of each array by its name; None unless names differ in their layer number only.

    >>> layer_names(["layer_0", "layer_1"]), layer_names(["maps", "layer_1"])
    ({'layer_0': 0, 'layer_1': 1}, None)
    """
    matches = [list(_LAYER_NAME.finditer(name)) for name in names]
    if len(names) < 2 or any(len(found) != 1 for found in matches):
        return None
    rest = {
        name[: found[0].start(1)] + "#" + name[found[0].end(1) :] for name, found in zip(names, matches, strict=True)
    }
    numbers = {name: int(found[0][1]) for name, found in zip(names, matches, strict=True)}
    unique = len(rest) == 1 and len(set(numbers.values())) == len(numbers)
    return dict(sorted(numbers.items(), key=lambda entry: entry[1])) if unique else None


def check_array(path: object, array: Array) -> None:
    """Raise UsageError if an array cannot contain maps."""
    if array.dtype.kind not in "fiub":
        raise UsageError(f"{path}: expected an array of numbers, got dtype {array.dtype}: save it as float32")
    if not 2 <= array.ndim <= 5:
        raise UsageError(f"{path}: {_DEFAULT}, got {array.ndim}, shape {array.shape}: reshape the array")
    if 0 in array.shape:
        raise UsageError(f"{path}: expected at least one entry on each axis, got shape {array.shape}")


def split_array(path: object, array: Array, axes: tuple[str, ...] | None) -> LayerArrays:
    """Return the layers of one array; raise UsageError if its shape can be read in two ways and `axes` is None."""
    check_array(path, array)
    names, notes = (axes, ()) if axes is not None else _default_axes(path, array.shape)
    maps = _ordered(path, array, names)
    return LayerArrays(dict(enumerate(maps)), notes=notes)


def join_layers(path: object, arrays: Mapping[int, Array], axes: tuple[str, ...] | None) -> LayerArrays:
    """Return the layers of one array per layer, by layer number."""
    for array in arrays.values():
        check_array(path, array)
    first = next(iter(arrays.values()))
    notes: tuple[str, ...] = ()
    if axes is not None and len(axes) == first.ndim + 1 and axes[0] != "layer":
        _check_same(path, [array.shape for array in arrays.values()])
        return split_array(path, np.stack(list(arrays.values())), axes)
    if axes is None:
        if first.ndim == 5:
            raise UsageError(f"{path}: expected at most text, head, query and key in each layer, got {first.shape}")
        axes = AXES[-first.ndim :] if first.ndim < 4 else ("text", "head", "query", "key")
        notes = _reading(("layer", *axes), (len(arrays), *first.shape))
    inner = axes[1:] if len(axes) == first.ndim + 1 else axes
    if "layer" in inner:
        raise UsageError(f"{path}: each array is one layer, so --axes names the other axes: leave out layer")
    layers = {number: _ordered(path, array, inner)[0] for number, array in arrays.items()}
    _check_same(path, [(len(maps), *maps.shape[2:]) for maps in layers.values()])
    return LayerArrays(layers, notes=notes)


def join_steps(path: object, steps: Sequence[Sequence[Array]], kind: Kind | None) -> LayerArrays:
    """Return the layers of what `generate` returns: for each step, and each layer, the rows of the new tokens.

    Every array is [text, head, query, key]. Keys grow by the queries of each step, as in self-attention with a cache;
    else they stay the same, which `kind` explains: cross, or decoder for a cache of fixed size. Raise UsageError for
    other numbers of keys, as of a cache that forgets old keys.
    """
    shapes = [[array.shape for array in step] for step in steps]
    if (
        any(len(shape) != 4 or 0 in shape for step in shapes for shape in step)
        or len({len(step) for step in steps}) != 1
    ):
        raise UsageError(
            f"{path}: expected tensors [text, head, query, key] of the same layers in each step of generate"
        )
    for array in (array for step in steps for array in step):
        check_array(path, array)
    queries, keys = [step[0][2] for step in shapes], [step[0][3] for step in shapes]
    _check_same(path, [(len(shapes[0]), shape[0], *shape[2:]) for shape in shapes[0]])
    total = sum(queries)
    grows = keys == np.cumsum(queries).tolist()
    if not grows and (len(set(keys)) != 1 or (kind == "decoder" and keys[0] < total)):
        raise UsageError(
            f"{path}: the steps of generate have {_short(queries)} queries and {_short(keys)} keys: keys that do not "
            "grow with the queries come from a cache that forgets: generate without a sliding window"
        )
    if not grows and kind not in ("cross", "decoder"):
        raise UsageError(
            f"{path}: every step of generate has the same {keys[0]} keys: say --kind cross for cross-attention, or "
            "--kind decoder for a cache of fixed size"
        )
    width = keys[-1] if kind == "cross" else total
    layers = {number: _join_rows(path, [step[number] for step in steps], width) for number in range(len(steps[0]))}
    return LayerArrays(layers, kind or "decoder", _batch_note(shapes[0][0][0]))


def _join_rows(path: object, rows: Sequence[Array], width: int) -> Array:
    """Return the rows of all steps over `width` keys; keys of later steps get 0."""
    if len({row.shape[:2] for row in rows}) != 1:
        raise UsageError(f"{path}: expected the same texts and heads in each step of generate")
    texts, heads = rows[0].shape[:2]
    maps = np.zeros((texts, heads, sum(row.shape[2] for row in rows), width), np.float32)
    start = 0
    for row in rows:
        if row[..., width:].any():
            raise UsageError(f"{path}: expected weights on the {width} tokens only, got some on later keys")
        maps[:, :, start : start + row.shape[2], : min(width, row.shape[3])] = row[..., :width]
        start += row.shape[2]
    return maps


def _batch_note(texts: int) -> tuple[str, ...]:
    beams = "the steps of generate are read as those of one text each: with beam search, rows would come from others"
    return (beams,) if texts > 1 else ()


def _default_axes(path: object, shape: tuple[int, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the axes of a shape and a note about them; raise UsageError if it can be read in two ways."""
    axes = AXES[-len(shape) :]
    lead = shape[:-3]
    if all(length == 1 for length in lead):
        return axes, _reading(axes, shape)
    if len(lead) == 1:
        readings = [
            f"layer,head,query,key ({lead[0]} layers of one text)",
            f"text,head,query,key ({lead[0]} texts and one layer)",
        ]
    else:
        readings = [
            f"layer,text,head,query,key ({_count(lead[0], 'layer')}, {_count(lead[1], 'text')})",
            f"text,layer,head,query,key ({_count(lead[0], 'text')}, {_count(lead[1], 'layer')})",
        ]
    raise UsageError(f"{path}: shape {shape} can be read as {' or as '.join(readings)}: say which with --axes")


def _reading(axes: tuple[str, ...], shape: tuple[int, ...]) -> tuple[str, ...]:
    """Return the note on axes that could have other names; empty if only queries and keys have several entries."""
    if all(length == 1 for length in shape[:-2]):
        return ()
    return (f"the axes of the maps, {_short(shape)}, are read as {','.join(axes)}: --axes says otherwise",)


def _ordered(path: object, array: Array, axes: tuple[str, ...]) -> Array:
    """Return the array as [layer, text, head, query, key]."""
    if len(axes) != array.ndim:
        raise UsageError(f"{path}: --axes names {len(axes)} axes, the array has {array.ndim}, shape {array.shape}")
    missing = [axis for axis in _ORDER if axis not in axes]
    names = (*missing, *axes)
    full = array.reshape((1,) * len(missing) + array.shape)
    return full.transpose([names.index(axis) for axis in _ORDER])


def _check_same(path: object, shapes: Sequence[tuple[Any, ...]]) -> None:
    if len(set(shapes)) != 1:
        raise UsageError(
            f"{path}: expected the same texts, queries and keys in every layer, got {sorted(set(shapes))[:3]}"
        )


def _count(number: int, name: str) -> str:
    return f"{number} {name}" + ("s" if number != 1 else "")


def _short(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:4]))
    return f"({shown}{', …' if len(numbers) > 4 else ''})"
