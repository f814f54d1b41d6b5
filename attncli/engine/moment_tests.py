"""Intervals and tests of means over texts from their moments alone, for corpora whose values are not kept."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from attncli.data import Array
from attncli.engine.paired_tests import FEWEST, load_scipy
from attncli.stream.sums import Moments

SMALLEST_STD = 1e-6
"""If values differ by less than this from text to text, they differ by rounding."""


@dataclass(frozen=True, eq=False)
class MeanTest:
    """The mean of each cell with an interval and a p-value, all of one shape.

    mean, low, high  the mean, and the ends of its interval
    p                p-value of the null hypothesis that the mean is 0, two-sided
    """

    mean: Array
    low: Array
    high: Array
    p: Array


def mean_test(moments: Moments, confidence: float = 0.95) -> MeanTest:
    """Return the interval and the test of the mean of paired differences over texts.

    Formula   mean ± t · sqrt(s² / n), t the quantile of Student's distribution with n - 1 degrees of freedom
    Undefined interval and p with fewer than 6 texts
    Caveat    Assumes that texts are independent. Of many texts, values need not be normally distributed.
    Source    Student 1908; scipy.stats.ttest_rel
    """
    return _student(moments.mean, [_squared_error(moments)], moments.count >= FEWEST, confidence)


def difference_test(a: Moments, b: Moments, confidence: float = 0.95) -> MeanTest:
    """Return the interval and the test of the mean of b minus the mean of a, over texts of two corpora.

    Formula   difference ± t · sqrt(s²_a / n_a + s²_b / n_b), with the degrees of freedom of Welch and Satterthwaite
    Undefined interval and p with fewer than 6 texts in a or in b
    Caveat    Assumes that texts are independent.
    Source    Welch 1947; scipy.stats.ttest_ind(equal_var=False)
    """
    enough = (a.count >= FEWEST) & (b.count >= FEWEST)
    return _student(b.mean - a.mean, [_squared_error(a), _squared_error(b)], enough, confidence)


def stratified_test(groups: Sequence[tuple[Moments, Moments]], confidence: float = 0.95) -> MeanTest:
    """Return the test of the difference between b and a within groups of similar texts, averaged over the groups.

    groups    moments of a and of b of each group, at least one
    Formula   Σ w_g (mean_bg - mean_ag) / Σ w_g with w_g = n_ag n_bg / (n_ag + n_bg); variances add up as in
              `difference_test`. Groups with fewer than 2 texts in a or in b do not count
    Undefined without such a group
    Source    Cochran 1954, "Some Methods for Strengthening the Common χ² Tests", for the weights
    """
    shape = groups[0][0].count.shape
    total, weighted = np.zeros(shape), np.zeros(shape)
    errors: list[tuple[Array, Array]] = []
    for a, b in groups:
        used = (a.count > 1) & (b.count > 1)
        weight = np.where(used, a.count * b.count / np.maximum(a.count + b.count, 1), 0.0)
        total += weight
        weighted += np.where(used, weight * (b.mean - a.mean), 0.0)
        for error, free in (_squared_error(a), _squared_error(b)):
            errors.append((np.where(used, weight**2 * error, 0.0), free))
    scale = np.where(total > 0, total, np.nan)
    scaled = [(error / scale**2, free) for error, free in errors]
    return _student(weighted / scale, scaled, total > 0, confidence)


def standardised(change: Array, a: Moments, b: Moments) -> Array:
    """Return a difference of means divided by the standard deviation over texts: how large is it?

    Formula   change / sqrt((s²_a + s²_b) / 2)
    Unit      1: as much as texts differ from each other; 0.2 is called small, 0.8 large (Cohen 1988)
    Undefined where texts differ by rounding only, unless nothing changes at all (0)
    """
    std = np.sqrt((a.variance + b.variance) / 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        effect: Array = np.where(change == 0, 0.0, np.where(std > SMALLEST_STD, change / std, np.nan))
    return np.where(np.isnan(change), np.nan, effect)


def _squared_error(moments: Moments) -> tuple[Array, Array]:
    """Return the squared standard error of a mean, and its degrees of freedom."""
    return moments.variance / np.maximum(moments.count, 1), np.maximum(moments.count - 1, 1)


def _student(mean: Array, errors: Sequence[tuple[Array, Array]], enough: Array, confidence: float) -> MeanTest:
    """Return the test of a mean with these squared errors and their degrees of freedom, where texts are enough."""
    student, squared = load_scipy().t, np.sum([error for error, _ in errors], axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        free = squared**2 / np.sum([error**2 / freedom for error, freedom in errors], axis=0)
        size, free = np.sqrt(squared), np.where(squared > 0, free, 1.0)
        half = np.where(squared > 0, student.ppf((1 + confidence) / 2, free) * size, 0.0)
        p = np.where(squared > 0, 2 * student.sf(np.abs(mean) / size, free), np.where(mean == 0, 1.0, 0.0))
    return MeanTest(mean, *(np.where(enough, values, np.nan) for values in (mean - half, mean + half, p)))
