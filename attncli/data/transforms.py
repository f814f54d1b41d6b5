"""Tokens and kept maps with words instead of pieces, without special tokens, or cut and pooled into cells."""

from dataclasses import replace

import numpy as np

from attncli.data.layer_maps import LayerMaps
from attncli.data.maps import Attention
from attncli.data.tokens import Array, Tokens, read_only
from attncli.data.words import merged_words, word_groups
from attncli.data.zoom import TokenWindow, Zoom
from attncli.errors import UsageError

_Sides = tuple[TokenWindow, TokenWindow]


def to_words(attention: Attention) -> Attention:
    """Return the maps of words instead of pieces (Clark et al. 2019).

    Keys are summed over the pieces of a word, queries averaged over its pieces (those whose row is defined). A word is
    visible to another if any of its pieces is visible to any piece of the other. Special tokens, and pieces that
    belong to no word, stay single. A word of two pieces that get 0.2 and 0.3 gets 0.5.
    """
    if attention.words:
        return attention
    queries, keys = word_groups(attention.queries), word_groups(attention.keys)
    return replace(
        attention,
        queries=merged_words(attention.queries),
        keys=merged_words(attention.keys),
        layers=tuple(_merge_maps(maps, queries, keys) for maps in attention.layers),
        words=True,
    )


def _merge_maps(maps: LayerMaps, queries: Array, keys: Array) -> LayerMaps:
    weights = _reduce_groups(np.add, maps.weights.astype(np.float64), keys, axis=2)
    defined = ~np.isnan(weights[..., :1])
    weights = _reduce_groups(np.add, np.where(defined, weights, 0.0), queries, axis=1)
    counts = _reduce_groups(np.add, defined.astype(np.float64), queries, axis=1)
    weights = np.where(counts > 0, weights / np.maximum(counts, 1), np.nan)
    visible = maps.visible
    if visible is not None:
        visible = _reduce_groups(np.logical_or, _reduce_groups(np.logical_or, visible, keys, axis=2), queries, axis=1)
    return replace(maps, weights=weights, visible=visible)


def _reduce_groups(operation: np.ufunc, array: Array, groups: Array, axis: int) -> Array:
    """Return the array with the entries of each group reduced to one along an axis."""
    order = np.argsort(groups, kind="stable")
    starts = np.searchsorted(groups[order], np.arange(groups.max(initial=-1) + 1))
    reduced: Array = operation.reduceat(np.take(array, order, axis=axis), starts, axis=axis)
    return reduced


def drop_special(attention: Attention) -> Attention:
    """Return the maps of ordinary tokens, without special tokens.

    Both axes lose them; each row is divided by its remaining sum, so that it sums to 1. A row whose whole mass was
    removed is NaN. Over [CLS], a, b a row of 1/2, 1/4, 1/4 becomes 1/2, 1/2. `removed_mass` says how much of the
    attention this hides. Value-weighted norms are not rescaled.
    """
    if attention.dropped_special:
        return attention
    ordinary = without_special(attention.queries), without_special(attention.keys)
    queries, keys = ~attention.queries.special, ~attention.keys.special
    layers = []
    for maps in attention.layers:
        weights = maps.weights[:, queries][:, :, keys].astype(np.float64)
        total = weights.sum(-1, keepdims=True)
        divisor = 1.0 if attention.by == "norm" else np.where(total > 0, total, 1.0)
        visible = None if maps.visible is None else maps.visible[:, queries][:, :, keys]
        layers.append(replace(maps, weights=np.where(total > 0, weights / divisor, np.nan), visible=visible))
    return replace(attention, queries=ordinary[0], keys=ordinary[1], layers=tuple(layers), dropped_special=True)


def removed_mass(attention: Attention) -> float:
    """Return the share of the attention of ordinary tokens that `drop_special` removes, as it goes to special tokens.

    It is the mean over rows, heads and layers, NaN if no row is defined.
    """
    shares = []
    for maps in attention.layers:
        weights = maps.weights[:, ~attention.queries.special].astype(np.float64)
        total = weights.sum(-1) if attention.by == "norm" else 1.0
        shares.append((weights[..., attention.keys.special].sum(-1) / total).ravel())
    defined = np.concatenate(shares)
    defined = defined[~np.isnan(defined)]
    return float(defined.mean()) if len(defined) else float("nan")


def without_special(tokens: Tokens) -> Tokens:
    """Return the ordinary tokens of one side; raise UsageError if there are none."""
    ordinary = np.flatnonzero(~tokens.special)
    if not len(ordinary):
        raise UsageError(
            f"all {len(tokens)} tokens of the text are special, so that nothing is left without them: "
            "give a text with words, or --special keep"
        )
    after_special = np.diff(ordinary, prepend=-1) > 1
    return replace(tokens.take(ordinary), gaps=tuple(after_special.tolist()))


def zoomed(attention: Attention, zoom: Zoom) -> Attention:
    """Return the window of the maps, in at most `resolution` cells a side: mean or maximum of their visible pairs.

    A mean of 0.5, 0.3 and a masked pair is 0.4. A cell without a visible pair is masked. Maps that need no change are
    returned as they are. The result is that of pooling the stream. Heads and layers must be combined before. Raise
    UsageError for maps that are pooled already, unless they have few enough cells.
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
    several = any(len(maps.heads) > 1 for maps in attention.layers)
    combined = {
        how: zoomed(attention.combined_heads(how), replace(zoom, beside=())).layers
        for how in (zoom.beside if several else ())
    }
    # layers that share a mask share its zoomed copy too
    masks = {id(maps.visible): maps.visible for maps in attention.layers if maps.visible is not None}
    pooled = {key: read_only(_reduce_cells(np.logical_or, _window(mask, sides), sides)) for key, mask in masks.items()}
    layers = []
    for number, maps in enumerate(attention.layers):
        visible = pooled.get(id(maps.visible))
        weights = _zoomed_weights(maps, sides, zoom.pool)
        visible = None if visible is None or visible.all() else visible
        beside = {how: maps_of_layers[number] for how, maps_of_layers in combined.items()}
        layers.append(replace(maps, weights=weights, visible=visible, combined=beside))
    return attention.zoomed(sides, zoom.pool, tuple(layers))


def _window(array: Array, sides: _Sides) -> Array:
    rows, keys = sides
    return array[:, rows.first : rows.last + 1, keys.first : keys.last + 1]


def _zoomed_weights(maps: LayerMaps, sides: _Sides, pool: str) -> Array:
    weights = _window(maps.weights, sides)
    if all(side.cell == 1 for side in sides):
        return weights
    masks = [None] * len(weights)
    if maps.visible is not None:
        masks = [*np.broadcast_to(_window(maps.visible, sides), weights.shape)]
    return np.stack([_cells(map_, mask, sides, pool) for map_, mask in zip(weights, masks, strict=True)])


def _cells(weights: Array, visible: Array | None, sides: _Sides, pool: str) -> Array:
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


def _reduce_cells(operation: np.ufunc, array: Array, sides: _Sides, dtype: type | None = None) -> Array:
    """Return the array with the last two axes reduced cell by cell."""
    for axis, side in zip((-2, -1), sides, strict=True):
        array = operation.reduceat(array, np.arange(0, side.tokens, side.cell), axis=axis, dtype=dtype)
    return array
