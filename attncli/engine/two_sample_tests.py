"""Statistics of the difference between two sets of texts: intervals, and a permutation test."""

from functools import partial

import numpy as np

from attncli.data import Array
from attncli.engine.paired_tests import CELLS, FLIPS, SEED, by_pattern, load_scipy, percentile_interval


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

    Formula   share of all ways to deal the texts out to two sets of these sizes (of 9999 seeded ones and the given one,
              if there are more) for which |mean of a - mean of b| is at least the observed one
    Axes      values [cell, text] of both → [cell]
    Undefined NaN if fewer than 6 texts of a or of b have a value
    Caveat    Assumes that texts are independent. Sets of other kinds of texts differ too, whatever the model learned.
    Source    Fisher 1935; Phipson & Smyth 2010, "Permutation P-values Should Never Be Zero";
              scipy.stats.permutation_test
    """

    def p_values(x: Array, y: Array) -> Array:
        found = load_scipy().permutation_test(
            (x, y),
            lambda x, y, axis: np.abs(_difference(x, y, axis)),
            alternative="greater",
            axis=-1,
            vectorized=True,
            n_resamples=FLIPS,
            batch=max(1, CELLS // (x.size + y.size)),
            rng=np.random.default_rng(SEED),
        )
        return np.asarray(found.pvalue)[:, None]

    return np.asarray(by_pattern([a, b], p_values, 1)[:, 0])


def _difference(x: Array, y: Array, axis: int = -1) -> Array:
    return np.asarray(x.mean(axis) - y.mean(axis))
