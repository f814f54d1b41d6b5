"""The head that the page opens on: the one whose weights depend most on which tokens they join."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from attncli.data import Attention, LayerMaps
from attncli.data.tokens import Array


def opening_head(attention: Attention) -> dict[str, Any]:
    """Return the layer and the head that the page opens on; head is None where all heads are combined.

    The head has the largest mean, over queries, of the largest contrast of a query (see `contrasts`). Of equal heads
    it is the first.
    """
    best, found = -1.0, (attention.layers[0], 0)
    for layer in attention.layers:
        for at, contrast in enumerate(_mean_contrasts(attention, layer)):
            if contrast > best:
                best, found = contrast, (layer, at)
    layer, at = found
    return {"layer": layer.layer, "head": layer.heads[at] if layer.heads else None}


def _mean_contrasts(attention: Attention, layer: LayerMaps) -> Iterator[float]:
    """Yield for each head the mean over queries of their largest contrast, rounded; 0 where no query has any."""
    queries, keys = attention.queries, attention.keys
    ordinary = np.ones(layer.weights.shape[1:], bool)
    if attention.pool == "none":
        ordinary = ~queries.special[:, None] & ~keys.special
    same_text = queries is keys or queries.pieces == keys.pieces
    visible = np.broadcast_to(True if layer.visible is None else layer.visible, layer.weights.shape)
    for of_head, visible_keys in zip(layer.weights, visible, strict=True):
        contrast = contrasts(of_head, ordinary & visible_keys, same_text)
        # rounded, so that heads that differ by float32 alone are equal
        yield round(float(contrast.max(1).mean()), 4)


def contrasts(weights: Array, visible: Array, same_text: bool) -> Array:
    """Return [query, key] by how much a weight exceeds what its key alone, and its distance alone, explain.

    A key alone explains the mean weight that it receives; a distance alone the mean weight of all pairs of this
    distance, if queries and keys are the same text. A sink or a diagonal has no contrast, and the weight of a query to
    itself or to a key that is not `visible` has none.
    """
    counted = visible & ~np.isnan(weights)
    weights = np.where(counted, weights, 0)
    explained = weights.sum(0, np.float64) / np.maximum(counted.sum(0), 1)
    if same_text:
        explained = np.maximum(explained, by_distance(weights) / np.maximum(by_distance(counted), 1))
    contrast: Array = np.where(counted, weights - explained, 0)
    if same_text:
        np.fill_diagonal(contrast, 0)
    return contrast


def by_distance(values: Array) -> Array:
    """Return [query, key] the sum of the values of all pairs of the same distance."""
    rows, columns = values.shape
    padded = np.zeros((rows, rows + columns), values.dtype)
    padded[:, :columns] = values
    # rows that are longer by one move each distance into one column, those below zero to the end
    sums = np.append(padded.ravel(), np.zeros(rows, values.dtype)).reshape(rows, -1).sum(0, np.float64)
    return sliding_window_view(np.concatenate([sums[len(sums) - rows + 1 :], sums[:columns]]), columns)[::-1]
