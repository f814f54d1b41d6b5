"""Statistics of the difference between two sets of texts: intervals, and a permutation test."""

from functools import partial

import numpy as np

from attncli.data import Array
from attncli.engine.paired_tests import CELLS, FLIPS, SEED, by_pattern, percentile_interval

_TIE = 1e-12  # relative rounding error of equal means


def difference_intervals(a: Array, b: Array, confidence: float = 0.95) -> Array:
    """Return a confidence interval of the mean of a minus the mean of b.

    Formula   percentiles of the differences of 2000 samples of both sets of texts, each drawn with replacement, seeded
    Axes      values [cell, text] of both → [cell, 2] low and high
    Undefined NaN if fewer than 6 texts of a or of b have a value
    Source    Efron & Tibshirani 1993, the percentile interval; scipy.stats.bootstrap
    """
    return by_pattern([a, b], partial(percentile_interval, _difference, confidence), 2)


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
        step = max(1, CELLS // (values.shape[0] + values.shape[1]))
        for start in range(0, FLIPS, step):
            order = np.argsort(rng.random((min(step, FLIPS - start), values.shape[1])), axis=1)
            sums = (order < count).astype(float) @ values.T
            hits += (np.abs(sums) >= observed).sum(0)
        return ((1 + hits) / (1 + FLIPS))[:, None]

    return np.asarray(by_pattern([a, b], p_values, 1)[:, 0])


def _difference(x: Array, y: Array, axis: int = -1) -> Array:
    return np.asarray(x.mean(axis) - y.mean(axis))
