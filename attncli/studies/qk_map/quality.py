"""How true the map of a head is: whether distances on it say which keys a query attends to."""

from __future__ import annotations

import numpy as np

from attncli.data import Array
from attncli.studies.qk_map.head_maps import LEAST_PAIRS, NEAREST
from attncli.studies.qk_map.projection import unit_vectors
from attncli.studies.qk_map.sampling import Sample

RANDOM_MAPS = 5
_AT_ONCE = 512
"""Number of queries whose products with all keys are in memory at once."""
QUALITY = (
    "correlation",
    "correlation_all_dimensions",
    "correlation_random",
    "top_near",
    "top_near_all_dimensions",
    "top_near_random",
)
"""The numbers of `measure`."""


def measure(weights: Array, vectors: Array, points: Array, sample: Sample, seed: int) -> dict[str, Array]:
    """Return how true a map is: `QUALITY`, of the map, in all dimensions by cosine distance, and of random points.

    weights  [query, pair] attention weights, NaN if masked
    """
    queries, pairs = sample.tokens.queries, sample.pairs
    on_map = euclidean(points[:queries], points[queries:], pairs)
    in_all = cosine(vectors[:queries], vectors[queries:], pairs)
    near, chance = top_share(weights, on_map)
    numbers = (
        rank_correlation(weights, on_map),
        rank_correlation(weights, in_all),
        random_correlation(weights, points, queries, pairs, seed),
        near,
        top_share(weights, in_all)[0],
        chance,
    )
    return {name: np.array(number) for name, number in zip(QUALITY, numbers, strict=True)}


def euclidean(queries: Array, keys: Array, pairs: Array) -> Array:
    """Return [query, pair] the distance of each pair; `pairs` are numbers of keys, -1 gives any number."""
    distances: Array = np.linalg.norm(queries[:, None] - keys[pairs], axis=-1)
    return distances


def cosine(queries: Array, keys: Array, pairs: Array) -> Array:
    """Return [query, pair] 1 minus the cosine of each pair."""
    queries, keys = unit_vectors(queries), unit_vectors(keys)
    parts = [slice(first, first + _AT_ONCE) for first in range(0, len(queries), _AT_ONCE)]
    cosines = [np.take_along_axis(queries[part] @ keys.T, pairs[part], axis=1) for part in parts]
    return 1 - np.concatenate(cosines)


def rank_correlation(weights: Array, distances: Array) -> float:
    """Return Spearman's correlation of weight and nearness over all pairs, from -1 to 1; NaN if it is undefined.

    1: the nearer a key is, the more attention it gets. `weights` are NaN for masked pairs. Undefined for fewer than
    `LEAST_PAIRS` pairs, or where all weights or all distances are equal.
    """
    from scipy import stats

    seen = ~np.isnan(weights)
    if seen.sum() < LEAST_PAIRS:
        return float("nan")
    ranks = [stats.rankdata(values) for values in (weights[seen], -distances[seen])]
    spread = [values - values.mean() for values in ranks]
    sizes = [float(np.sqrt(np.square(values).sum())) for values in spread]
    if min(sizes) == 0:
        return float("nan")
    return float(spread[0] @ spread[1] / (sizes[0] * sizes[1]))


def top_share(weights: Array, distances: Array) -> tuple[float, float]:
    """Return the share of queries whose strongest key is among their `NEAREST` keys, and what chance gives.

    Counts queries that see more than `NEAREST` of the keys of their pairs; both are NaN if there are none.
    """
    seen = ~np.isnan(weights)
    counts = seen.sum(1)
    enough = counts > NEAREST
    if not enough.any():
        return float("nan"), float("nan")
    weights, distances, seen = weights[enough], distances[enough], seen[enough]
    top = np.where(seen, weights, -1.0).argmax(1)
    of_top = distances[np.arange(len(top)), top]
    nearer = (seen & (distances < of_top[:, None])).sum(1)
    return float((nearer < NEAREST).mean()), float((NEAREST / counts[enough]).mean())


def random_correlation(weights: Array, points: Array, queries: int, pairs: Array, seed: int) -> float:
    """Return the largest rank correlation, without its sign, of maps with the same points in random order."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(RANDOM_MAPS):
        shuffled = random.permutation(points)
        found.append(abs(rank_correlation(weights, euclidean(shuffled[:queries], shuffled[queries:], pairs))))
    return max(found)
