"""Kept maps seen through a window, or in cells of several tokens, as pooling the stream would have given them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from attncli.data import Array, Attention, LayerMaps, Stretch, Zoom
from attncli.errors import UsageError


def zoomed(attention: Attention, zoom: Zoom) -> Attention:
    """What is in the window, in at most `resolution` cells a side: the mean or maximum of their visible pairs.

    A mean of 0.5, 0.3 and a pair that is not visible is 0.4. A cell without a visible pair is not visible. Maps that
    fit stay as they are.
    """
    if not zoom.changes(len(attention.queries), len(attention.keys)):
        return attention
    if attention.pool != "none":
        raise UsageError(
            "these maps are pooled already, so no other window or resolution can be taken from them: "
            "run the model again with what is wanted"
        )
    sides = zoom.sides(len(attention.queries), len(attention.keys))
    pooled: dict[int, Array] = {}
    layers = []
    for maps in attention.layers:
        visible = None if maps.visible is None else pooled.get(id(maps.visible))
        layers.append(_layer(maps, sides, zoom.pool, visible))
        if maps.visible is not None and layers[-1].visible is not None:
            pooled[id(maps.visible)] = layers[-1].visible
    return attention.zoomed(sides, zoom.pool, tuple(layers))


def _layer(maps: LayerMaps, sides: Sequence[Stretch], pool: str, shared: Array | None) -> LayerMaps:
    rows, keys = sides
    window = (slice(None), slice(rows.first, rows.last + 1), slice(keys.first, keys.last + 1))
    weights = maps.weights[window]
    visible = None if maps.visible is None else maps.visible[window]
    if (rows.cell, keys.cell) != (1, 1):
        own = [None if visible is None else visible[min(at, len(visible) - 1)] for at in range(len(weights))]
        weights = np.stack([_cells(map_, sees, sides, pool) for map_, sees in zip(weights, own, strict=True)])
        visible = None if visible is None else _reduced(np.logical_or, visible, sides)
    if visible is not None and visible.all():
        visible = None
    return replace(maps, weights=weights, visible=visible if shared is None or visible is None else shared)


def _cells(weights: Array, visible: Array | None, sides: Sequence[Stretch], pool: str) -> Array:
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


def _reduced(operation: np.ufunc, array: Array, sides: Sequence[Stretch], dtype: type | None = None) -> Array:
    """The last two axes put together cell by cell."""
    for axis, side in zip((-2, -1), sides, strict=True):
        array = operation.reduceat(array, np.arange(0, side.tokens, side.cell), axis=axis, dtype=dtype)
    return array
