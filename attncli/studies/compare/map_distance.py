"""How far two maps of the same tokens are apart: the Jensen-Shannon distance between their rows."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from attncli.data import Array, Attention, LayerMaps

MOST_ROWS = 64
"""Rows of a text, evenly spread, of which the baseline is taken: it compares all pairs of heads."""
Heads = dict[tuple[int | str, int | str], float]


def js_distance(one: Array, other: Array) -> float:
    """How differently do two heads look?

    Formula   sqrt(mean_i JS_i), JS_i = ½ [KL(p_i‖m_i) + KL(q_i‖m_i)], m_i = (p_i + q_i) / 2
    Axes      weights [query, key] each → one number
    Unit      sqrt(nat), from 0 (equal) to sqrt(ln 2) = 0.833 (no key in common)
    Undefined NaN where no row is defined in both. Rows that sum to less than 1 are rescaled to 1
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
    found = (_nats(p) + _nats(q)) / 2 - _nats((p + q) / 2)
    return float(np.sqrt(found.clip(0).mean()))


def _nats(rows: Array) -> Array:
    """Σ p ln p of each row, 0 ln 0 = 0."""
    summed: Array = (rows * np.log(np.where(rows > 0, rows, 1.0))).sum(-1)
    return summed


def between(one: Attention, other: Attention) -> Heads:
    """The distance of each head of one from the same head of the other."""
    found = {}
    for mine, theirs in zip(one.layers, other.layers, strict=True):
        for at, place in enumerate(places(one, mine)):
            found[place] = js_distance(mine.weights[at], theirs.weights[at])
    return found


def among(attention: Attention) -> dict[tuple[tuple[int | str, int | str], tuple[int | str, int | str]], float]:
    """The distances of all pairs of heads of each layer, over at most 64 rows."""
    found = {}
    rows = slice(None, None, -(-len(attention.queries) // MOST_ROWS))
    for layer in attention.layers:
        for (a, one), (b, other) in combinations(enumerate(places(attention, layer)), 2):
            found[one, other] = js_distance(layer.weights[a, rows], layer.weights[b, rows])
    return found


def places(attention: Attention, layer: LayerMaps) -> list[tuple[int | str, int | str]]:
    """Layer and head of each map, or what was done to them."""
    heads: tuple[int | str, ...] = layer.heads or (attention.aggregate,)
    return [(layer.layer, head) for head in heads]
