"""Distances between maps of the same tokens: the Jensen-Shannon distance of their rows."""

from collections.abc import Callable
from itertools import combinations

import numpy as np

from attncli.data import Array, Attention, Kind, LayerMaps

MOST_ROWS = 64
"""Most rows of a text for the baseline, which compares all pairs of heads; they are evenly spread."""
HeadKey = tuple[Kind, int | str, int | str]
"""Kind, layer and head; `mean` or `max` if layers or heads were combined."""


def js_distance(first: Array, second: Array) -> float:
    """How different are the maps of two heads?

    Formula   sqrt(mean_i JS_i), JS_i = ½ [KL(p_i‖m_i) + KL(q_i‖m_i)], m_i = (p_i + q_i) / 2
    Axes      weights [query, key] each → one number
    Unit      √nat, from 0 (equal) to √(ln 2) = 0.833 (no key in common)
    Undefined NaN if no row is defined in both. Rows that sum to less than 1 are rescaled to 1
    Source    Clark et al. 2019, who sum over rows where we take the mean; Lin 1991 for the divergence

    >>> round(js_distance(np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])), 3)
    0.833
    >>> js_distance(np.array([[0.25, 0.75]]), np.array([[0.25, 0.75]]))
    0.0
    """
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    sums = first.sum(-1, keepdims=True), second.sum(-1, keepdims=True)
    common = ((sums[0] > 0) & (sums[1] > 0))[:, 0]  # NaN is not greater than 0
    if not common.any():
        return float("nan")
    p, q = first[common] / sums[0][common], second[common] / sums[1][common]
    divergence = (_log_sums(p) + _log_sums(q)) / 2 - _log_sums((p + q) / 2)
    return float(np.sqrt(divergence.clip(0).mean()))


def js_distances(first: Array, second: Array) -> Array:
    """Return `js_distance` of each head, at once: [head, query, key] each → [head]."""
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    sums = first.sum(-1, keepdims=True), second.sum(-1, keepdims=True)
    if not ((sums[0] > 0) & (sums[1] > 0)).all():
        return np.array([js_distance(*pair) for pair in zip(first, second, strict=True)])
    p, q = first / sums[0], second / sums[1]
    divergence = (_log_sums(p) + _log_sums(q)) / 2 - _log_sums((p + q) / 2)
    distances: Array = np.sqrt(divergence.clip(0).mean(-1))
    return distances


def _log_sums(rows: Array) -> Array:
    """Return Σ p ln p of each row, with 0 ln 0 = 0."""
    summed: Array = (rows * np.log(np.where(rows > 0, rows, 1.0))).sum(-1)
    return summed


def norm_distance(first: Array, second: Array) -> float:
    """How much does what a head writes change in length?

    Formula   Σ_ij |b_ij - a_ij| / Σ_ij a_ij, for the value-weighted norms a of A and b of B
    Axes      norms [query, key] each → one number
    Unit      1: 0 if equal, 1 if as much changes as the head wrote in A; no upper end
    Undefined NaN if the head writes nothing in A. Rows that are undefined in either do not count
    Source    Kobayashi et al. 2020 for the norms

    >>> norm_distance(np.array([[1.0, 3.0]]), np.array([[2.0, 6.0]]))
    1.0
    """
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    known = ~(np.isnan(a) | np.isnan(b))
    total = a[known].sum()
    return float(np.abs(b - a)[known].sum() / total) if total > 0 else float("nan")


def same_head_distances(a: Attention, b: Attention, distance: Callable[[Array, Array], float]) -> dict[HeadKey, float]:
    """Return the distance of each head of A to the same head of B."""
    return {
        head: distance(layer_a.weights[row], layer_b.weights[row])
        for layer_a, layer_b in zip(a.layers, b.layers, strict=True)
        for row, head in enumerate(_layer_keys(a, layer_a))
    }


def map_distances(a: Attention, b: Attention) -> dict[HeadKey, float]:
    """Return `js_distance` of each head of A to the same head of B."""
    return {
        head: distance
        for layer_a, layer_b in zip(a.layers, b.layers, strict=True)
        for head, distance in zip(_layer_keys(a, layer_a), js_distances(layer_a.weights, layer_b.weights), strict=True)
    }


def head_pair_distances(attention: Attention) -> dict[tuple[HeadKey, HeadKey], float]:
    """Return the distances of all pairs of heads of each layer, over at most 64 rows."""
    distances = {}
    rows = slice(None, None, -(-len(attention.queries) // MOST_ROWS))
    for layer in attention.layers:
        for (row_a, a), (row_b, b) in combinations(enumerate(_layer_keys(attention, layer)), 2):
            distances[a, b] = js_distance(layer.weights[row_a, rows], layer.weights[row_b, rows])
    return distances


def head_keys(attention: Attention) -> list[HeadKey]:
    """Return the keys of all maps."""
    return [key for layer in attention.layers for key in _layer_keys(attention, layer)]


def _layer_keys(attention: Attention, layer: LayerMaps) -> list[HeadKey]:
    return [(attention.kind, layer.layer, head) for head in layer.heads or (attention.aggregate,)]
