"""Statistics of changes over texts: intervals, sign-flip tests, and adjustment for many tests."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import product
from typing import Any

import numpy as np

from attncli.data import Array
from attncli.errors import UsageError
from attncli.vocabulary import CORPUS_TEXTS

FEWEST = 6
"""Least number of texts for intervals and tests: with fewer, no paired test can find a change at 5 %."""
SEED = 0
RESAMPLES = 2000
FLIPS = 9999
_EXACT = 13  # texts for which all sign patterns are computed
CELLS = 2_000_000  # numbers in memory at once
_TIE = 1e-12  # relative rounding error of equal means


def check_scipy(texts: int) -> None:
    """Raise UsageError if intervals can be computed for this number of texts, but SciPy is not installed."""
    if texts >= FEWEST:
        load_scipy()


def intervals(values: Array, confidence: float = 0.95) -> Array:
    """Return a confidence interval of the mean over texts.

    Formula   percentiles of the means of 2000 samples of the texts, drawn with replacement, seeded
    Axes      values [cell, text] → [cell, 2] low and high
    Undefined NaN if fewer than 6 texts have a value; texts without a value are left out
    Source    Efron & Tibshirani 1993, the percentile interval; scipy.stats.bootstrap
    """
    return by_pattern([values], partial(_mean_interval, confidence), 2)


def _mean_interval(confidence: float, values: Array) -> Array:
    """Return the interval of the mean of each row, [cell, 2]; of many texts by a product of matrices.

    The samples are those of scipy.stats.bootstrap, so that only the last digits differ.
    """
    cells, texts = values.shape
    if texts <= CORPUS_TEXTS:
        return percentile_interval(np.mean, confidence, values)
    generator, means = np.random.default_rng(SEED), np.empty((cells, RESAMPLES))
    rows = max(1, CELLS // texts)
    for start in range(0, RESAMPLES, rows):
        count = min(rows, RESAMPLES - start)
        drawn = generator.integers(0, texts, (count, texts)) + texts * np.arange(count)[:, None]
        times = np.bincount(drawn.ravel(), minlength=count * texts).reshape(count, texts)
        means[:, start : start + count] = values @ times.T.astype(np.float64) / texts
    ends = 50 * (1 - confidence), 50 * (1 + confidence)
    interval: Array = np.percentile(means, ends, axis=1).T
    return interval


def sign_flip(values: Array) -> Array:
    """Return the p-value of the mean of paired differences; the null hypothesis is that the mean is 0.

    Formula   share of all sign patterns (9999 seeded ones for more than 13 texts, and the given one) for which |mean|
              is at least the observed one
    Axes      values [cell, text] → [cell]
    Range     2/2^n … 1 for n texts: two-sided
    Undefined NaN if fewer than 6 texts have a value
    Caveat    Assumes that texts are independent, and that without a change differences are symmetric around 0.
    Source    Fisher 1935, the randomization test of paired differences
    """

    def p_values(known: Array) -> Array:
        extreme_count, patterns = np.zeros(len(known)), 0
        observed = np.abs(known.mean(1)) * (1 - _TIE)
        for signs in _sign_patterns(known.shape[1], max(1, CELLS // max(known.shape))):
            means = np.abs(signs @ known.T) / known.shape[1]
            extreme_count += (means >= observed).sum(0)
            patterns += len(signs)
        return (extreme_count / patterns)[:, None]

    flat: Array = by_pattern([values], p_values, 1)[:, 0]
    return flat


def _sign_patterns(count: int, rows: int) -> Iterator[Array]:
    """Yield sign patterns of a number of texts, [pattern, text], at most `rows` at once: all of them, or random ones.

    Random ones do not depend on `rows`.
    """
    if count <= _EXACT:
        every = np.array(list(product((1.0, -1.0), repeat=count)))
        yield from (every[start : start + rows] for start in range(0, len(every), rows))
        return
    yield np.ones((1, count))
    generator = np.random.default_rng(SEED)
    for start in range(0, FLIPS, rows):
        yield generator.integers(0, 2, (min(rows, FLIPS - start), count)) * 2.0 - 1


def adjusted(p: Array) -> Array:
    """Return p-values adjusted for many tests, so that the share of false discoveries is controlled.

    Formula   min over k >= rank of p_(k) · m / k
    Axes      p [test] → [test]; NaN stays and does not count
    Source    Benjamini & Hochberg 1995; scipy.stats.false_discovery_control
    """
    known = ~np.isnan(p)
    result = np.full(len(p), np.nan)
    if known.any():
        result[known] = load_scipy().false_discovery_control(p[known])
    return result


def percentile_interval(statistic: Callable[..., Any], confidence: float, *samples: Array) -> Array:
    """Return the interval of a statistic of samples [cell, text] that are drawn again: [cell, 2]."""
    bootstrap = load_scipy().bootstrap(
        samples,
        statistic,
        axis=-1,
        vectorized=True,
        n_resamples=RESAMPLES,
        confidence_level=confidence,
        method="percentile",
        batch=max(1, CELLS // sum(sample.size for sample in samples)),
        rng=np.random.default_rng(SEED),
    )
    return np.stack(bootstrap.confidence_interval, axis=-1)


def by_pattern(samples: Sequence[Array], compute: Callable[..., Array], columns: int) -> Array:
    """Return the results of `compute`, called once for each group of cells that have values for the same texts.

    samples  values [cell, text] of one set of texts or of several; cells that have fewer than 6 in one of them get NaN
    """
    result = np.full((len(samples[0]), columns), np.nan)
    known = ~np.isnan(np.concatenate(samples, axis=1))
    ends = np.cumsum([sample.shape[1] for sample in samples])[:-1]
    if known.size:
        patterns, numbers = np.unique(known, axis=0, return_inverse=True)
        for number, pattern in enumerate(patterns):
            texts = np.split(pattern, ends)
            if min(of_sample.sum() for of_sample in texts) >= FEWEST:
                cells = np.flatnonzero(numbers.ravel() == number)
                chosen = zip(samples, texts, strict=True)
                result[cells] = compute(*(sample[np.ix_(cells, of_sample)] for sample, of_sample in chosen))
    return result


def load_scipy() -> Any:
    """Return `scipy.stats`; raise UsageError if SciPy is not installed."""
    try:
        import scipy.stats
    except ImportError as error:
        raise UsageError('intervals and tests need SciPy: pip install "attncli[analyses]"') from error
    return scipy.stats
