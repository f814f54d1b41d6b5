"""Maps of words: attention to a word is the sum over its pieces, from a word the mean (Clark et al. 2019)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from attncli.data import Array, Attention, LayerMaps
from attncli.data.words import merged_words, word_groups


def to_words(attention: Attention) -> Attention:
    """Return the maps of words instead of pieces.

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
