"""Distances between maps of the same tokens: the Jensen-Shannon distance of their rows."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from attncli.data import Array, Attention, LayerMaps

MOST_ROWS = 64
"""Most rows of a text for the baseline, which compares all pairs of heads; they are evenly spread."""
Heads = dict[tuple[int | str, int | str], float]


def js_distance(one: Array, other: Array) -> float:
    """How different are the maps of two heads?

    Formula   sqrt(mean_i JS_i), JS_i = ½ [KL(p_i‖m_i) + KL(q_i‖m_i)], m_i = (p_i + q_i) / 2
    Axes      weights [query, key] each → one number
    Unit      sqrt(nat), from 0 (equal) to sqrt(ln 2) = 0.833 (no key in common)
    Undefined NaN if no row is defined in both. Rows that sum to less than 1 are rescaled to 1
    Source    Clark et al. 2019, who sum over rows where we take the mean; Lin 1991 for the divergence

    >>> round(js_distance(np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])), 3)
    0.833
    >>> js_distance(np.array([[0.25, 0.75]]), np.array([[0.25, 0.75]]))
    0.0
    """
    one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
    sums = one.sum(-1, keepdims=True), other.sum(-1, keepdims=True)
    common = ((sums[0] > 0) & (sums[1] > 0))[:, 0]  # NaN is neither
    if not common.any():
        return float("nan")
    p, q = one[common] / sums[0][common], other[common] / sums[1][common]
    divergence = (_nats(p) + _nats(q)) / 2 - _nats((p + q) / 2)
    return float(np.sqrt(divergence.clip(0).mean()))


def _nats(rows: Array) -> Array:
    """Return Σ p ln p of each row, with 0 ln 0 = 0."""
    summed: Array = (rows * np.log(np.where(rows > 0, rows, 1.0))).sum(-1)
    return summed


def between(one: Attention, other: Attention) -> Heads:
    """Return the distance of each head to the same head of the other."""
    return {
        head: js_distance(layer.weights[number], layer_of_other.weights[number])
        for layer, layer_of_other in zip(one.layers, other.layers, strict=True)
        for number, head in enumerate(head_keys(one, layer))
    }


def among(attention: Attention) -> dict[tuple[tuple[int | str, int | str], tuple[int | str, int | str]], float]:
    """Return the distances of all pairs of heads of each layer, over at most 64 rows."""
    distances = {}
    rows = slice(None, None, -(-len(attention.queries) // MOST_ROWS))
    for layer in attention.layers:
        for (a, one), (b, other) in combinations(enumerate(head_keys(attention, layer)), 2):
            distances[one, other] = js_distance(layer.weights[a, rows], layer.weights[b, rows])
    return distances


def head_keys(attention: Attention, layer: LayerMaps) -> list[tuple[int | str, int | str]]:
    """Return layer and head of each map; `mean` or `max` if they were combined."""
    heads: tuple[int | str, ...] = layer.heads or (attention.aggregate,)
    return [(layer.layer, head) for head in heads]
