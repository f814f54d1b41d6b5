"""A window of kept maps, or their tokens pooled into cells, with the same result as pooling the stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from attncli.data import Array, Attention, LayerMaps, TokenWindow, Zoom, read_only
from attncli.errors import UsageError


def zoomed(attention: Attention, zoom: Zoom) -> Attention:
    """Return the window of the maps, in at most `resolution` cells a side: mean or maximum of their visible pairs.

    A mean of 0.5, 0.3 and a masked pair is 0.4. A cell without a visible pair is masked. Maps that need no change are
    returned as they are. Raise UsageError for maps that are pooled already, unless they have few enough cells.
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
    # layers that share a mask share its zoomed copy too
    masks = {id(maps.visible): maps.visible for maps in attention.layers if maps.visible is not None}
    pooled = {key: read_only(_reduce_cells(np.logical_or, _window(mask, sides), sides)) for key, mask in masks.items()}
    layers = []
    for maps in attention.layers:
        visible = pooled.get(id(maps.visible))
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
    masks: list[Array | None] = [None] if maps.visible is None else [*_window(maps.visible, sides)]
    masks = masks * len(weights) if len(masks) == 1 else masks
    return np.stack([_cells(map_, mask, sides, pool) for map_, mask in zip(weights, masks, strict=True)])


def _cells(weights: Array, visible: Array | None, sides: Sequence[TokenWindow], pool: str) -> Array:
    """Return one map [query, key] in cells; undefined rows count in no cell."""
    defined = ~np.isnan(weights)
    counted = defined if visible is None else defined & visible
    if pool == "max":
        largest = _reduce_cells(np.maximum, np.where(counted, weights, -np.inf), sides)
        values = np.where(np.isneginf(largest), 0, largest)
    else:
        values = _reduce_cells(np.add, np.where(counted, weights, 0.0), sides, np.float64)
        values = values / np.maximum(_reduce_cells(np.add, counted, sides, np.float64), 1)
    cells: Array = np.where(_reduce_cells(np.logical_or, defined, sides), values, np.nan)
    return cells


def _reduce_cells(operation: np.ufunc, array: Array, sides: Sequence[TokenWindow], dtype: type | None = None) -> Array:
    """Return the array with the last two axes reduced cell by cell."""
    for axis, side in zip((-2, -1), sides, strict=True):
        array = operation.reduceat(array, np.arange(0, side.tokens, side.cell), axis=axis, dtype=dtype)
    return array
