"""Statistics of the difference between two sets of texts: intervals, and a permutation test."""

from collections.abc import Callable
from typing import Any

import numpy as np

from attncli.data import Array
from attncli.engine.paired_tests import FEWEST, FLIPS, RESAMPLES, SEED, load_scipy

_CELLS = 2_000_000  # numbers in memory at once
_TIE = 1e-12  # relative rounding error of equal means


def difference_intervals(a: Array, b: Array, confidence: float = 0.95) -> Array:
    """Return a confidence interval of the mean of a minus the mean of b.

    Formula   percentiles of the differences of 2000 samples of both sets of texts, each drawn with replacement, seeded
    Axes      values [cell, text] of both → [cell, 2] low and high
    Undefined NaN if fewer than 6 texts of a or of b have a value
    Source    Efron & Tibshirani 1993, the percentile interval; scipy.stats.bootstrap
    """

    def difference(x: Array, y: Array, axis: int = -1) -> Array:
        return np.asarray(x.mean(axis) - y.mean(axis))

    def interval(x: Array, y: Array) -> Array:
        options: dict[str, Any] = {"n_resamples": RESAMPLES, "confidence_level": confidence, "method": "percentile"}
        options |= {"batch": max(1, _CELLS // (x.size + y.size)), "rng": np.random.default_rng(SEED)}
        found = load_scipy().bootstrap((x, y), difference, axis=-1, vectorized=True, **options)
        return np.stack(found.confidence_interval, axis=-1)

    return _by_pattern(a, b, interval, 2)


def label_permutation(a: Array, b: Array) -> Array:
    """Return the p-value of the difference of the means; the null hypothesis is that both sets are of one kind.

    Formula   (1 + number of the 9999 seeded ways to deal the texts out to two sets of these sizes for which |mean of a
              - mean of b| is at least the observed one) / 10000
    Axes      values [cell, text] of both → [cell]
    Undefined NaN if fewer than 6 texts of a or of b have a value
    Caveat    Assumes that texts are independent. Sets of other kinds of texts differ too, whatever the model learned.
    Source    Fisher 1935; Phipson & Smyth 2010, "Permutation P-values Should Never Be Zero"
    """

    def p_values(x: Array, y: Array) -> Array:
        values, count = np.concatenate([x, y], axis=1), x.shape[1]
        values = values - values.mean(1, keepdims=True)
        # the values sum to 0, so the mean of b follows from that of a
        observed = np.abs(values[:, :count].sum(1)) - _TIE
        rng, hits = np.random.default_rng(SEED), np.zeros(len(values))
        step = max(1, _CELLS // (values.shape[0] + values.shape[1]))
        for start in range(0, FLIPS, step):
            order = np.argsort(rng.random((min(step, FLIPS - start), values.shape[1])), axis=1)
            sums = (order < count).astype(float) @ values.T
            hits += (np.abs(sums) >= observed).sum(0)
        return ((1 + hits) / (1 + FLIPS))[:, None]

    return np.asarray(_by_pattern(a, b, p_values, 1)[:, 0])


def _by_pattern(a: Array, b: Array, compute: Callable[[Array, Array], Array], columns: int) -> Array:
    """Return the results of `compute`, called once for each group of cells that have values for the same texts."""
    result = np.full((len(a), columns), np.nan)
    known_a, known_b = ~np.isnan(a), ~np.isnan(b)
    patterns, numbers = np.unique(np.concatenate([known_a, known_b], axis=1), axis=0, return_inverse=True)
    for number, pattern in enumerate(patterns):
        texts_a, texts_b = pattern[: a.shape[1]], pattern[a.shape[1] :]
        if min(texts_a.sum(), texts_b.sum()) >= FEWEST:
            cells = np.flatnonzero(numbers.ravel() == number)
            result[cells] = compute(a[np.ix_(cells, texts_a)], b[np.ix_(cells, texts_b)])
    return result
