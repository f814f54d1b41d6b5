"""Kept maps seen through a window, or in cells of several tokens, as pooling the stream would have given them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from attncli.data import Array, Attention, LayerMaps, TokenWindow, Zoom, read_only
from attncli.errors import UsageError


def zoomed(attention: Attention, zoom: Zoom) -> Attention:
    """What is in the window, in at most `resolution` cells a side: the mean or maximum of their visible pairs.

    A mean of 0.5, 0.3 and a pair that is not visible is 0.4. A cell without a visible pair is not visible. Maps that
    fit stay as they are.
    """
    cells = max(map(len, attention.sides))
    if attention.pool != "none":
        if not zoom.windowed and (zoom.resolution is None or cells <= zoom.resolution):
            return attention
        raise UsageError(
            f"these maps are pooled already, to {cells} cells a side, so no window and no other resolution can be "
            f"taken from them: run the model again, or ask for --resolution {cells}"
        )
    if not zoom.changes(len(attention.queries), len(attention.keys)):
        return attention
    sides = zoom.sides(len(attention.queries), len(attention.keys))
    # layers that share a mask do so afterwards
    masks = {id(maps.visible): maps.visible for maps in attention.layers if maps.visible is not None}
    cut = {key: read_only(_reduced(np.logical_or, _window(mask, sides), sides)) for key, mask in masks.items()}
    layers = []
    for maps in attention.layers:
        visible = cut.get(id(maps.visible))
        weights = _weights(maps, sides, zoom.pool)
        layers.append(replace(maps, weights=weights, visible=None if visible is None or visible.all() else visible))
    return attention.zoomed(sides, zoom.pool, tuple(layers))


def _window(array: Array, sides: Sequence[TokenWindow]) -> Array:
    rows, keys = sides
    return array[:, rows.first : rows.last + 1, keys.first : keys.last + 1]


def _weights(maps: LayerMaps, sides: Sequence[TokenWindow], pool: str) -> Array:
    weights = _window(maps.weights, sides)
    if all(side.cell == 1 for side in sides):
        return weights
    visible = [None] * len(weights) if maps.visible is None else _window(maps.visible, sides)
    seen = [visible[min(at, len(visible) - 1)] for at in range(len(weights))]
    return np.stack([_cells(map_, sees, sides, pool) for map_, sees in zip(weights, seen, strict=True)])


def _cells(weights: Array, visible: Array | None, sides: Sequence[TokenWindow], pool: str) -> Array:
    """One map [query, key] in cells; rows that are undefined count in none."""
    defined = ~np.isnan(weights)
    seen = defined if visible is None else defined & visible
    if pool == "max":
        largest = _reduced(np.maximum, np.where(seen, weights, -np.inf), sides)
        found = np.where(np.isneginf(largest), 0, largest)
    else:
        found = _reduced(np.add, np.where(seen, weights, 0.0), sides, np.float64)
        found = found / np.maximum(_reduced(np.add, seen, sides, np.float64), 1)
    cells: Array = np.where(_reduced(np.logical_or, defined, sides), found, np.nan)
    return cells


def _reduced(operation: np.ufunc, array: Array, sides: Sequence[TokenWindow], dtype: type | None = None) -> Array:
    """The last two axes put together cell by cell."""
    for axis, side in zip((-2, -1), sides, strict=True):
        array = operation.reduceat(array, np.arange(0, side.tokens, side.cell), axis=axis, dtype=dtype)
    return array
