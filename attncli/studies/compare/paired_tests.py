"""Whether a change over paired texts is more than chance: intervals, sign-flip tests, and many of them at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import numpy as np

from attncli.data import Array
from attncli.errors import UsageError
from attncli.studies.compare.result import FEWEST

SEED = 0
RESAMPLES = 2000
FLIPS = 9999
_EXACT = 13
_CELLS = 2_000_000
_TIE = 1e-12


def intervals(values: Array, confidence: float = 0.95) -> Array:
    """Between which values does the mean over texts lie?

    Formula   percentiles of the means of 2000 samples of the texts, drawn with replacement, seeded
    Axes      values [cell, text] → [cell, 2] low and high
    Undefined NaN where fewer than 6 texts have a value; texts without are left out
    Source    Efron & Tibshirani 1993, the percentile interval; scipy.stats.bootstrap
    """

    def of(known: Array) -> Array:
        found = (
            _scipy()
            .bootstrap(
                (known,),
                np.mean,
                axis=-1,
                vectorized=True,
                n_resamples=RESAMPLES,
                confidence_level=confidence,
                method="percentile",
                batch=max(1, _CELLS // known.size),
                rng=np.random.default_rng(SEED),
            )
            .confidence_interval
        )
        return np.stack([found.low, found.high], axis=-1)

    return _by_pattern(values, of, 2)


def sign_flip(values: Array) -> Array:
    """Could the mean of these paired differences be chance?

    Formula   share of all ways to turn signs around (9999 seeded ones for more than 13 texts, and the given one) in
              which |mean| is at least that found
    Axes      values [cell, text] → [cell]
    Range     2/2^n … 1 for n texts: two-sided
    Undefined NaN where fewer than 6 texts have a value
    Caveat    It takes texts as independent, and differences as likely to be positive as negative where nothing changed.
    Source    Fisher 1935, the randomization test of paired differences
    """

    def of(known: Array) -> Array:
        count = known.shape[1]
        if count <= _EXACT:
            signs = np.array(list(product((1.0, -1.0), repeat=count)))
        else:
            drawn = np.random.default_rng(SEED).integers(0, 2, (FLIPS, count)) * 2.0 - 1
            signs = np.concatenate([np.ones((1, count)), drawn])
        reached = np.zeros(len(known))
        step = max(1, _CELLS // len(known))
        least = np.abs(known.mean(1)) * (1 - _TIE)
        for start in range(0, len(signs), step):
            means = np.abs(signs[start : start + step] @ known.T) / count
            reached += (means >= least).sum(0)
        return (reached / len(signs))[:, None]

    flat: Array = _by_pattern(values, of, 1)[:, 0]
    return flat


def adjusted(p: Array) -> Array:
    """Which of many p-values hold, when a share of those that are called so may be wrong?

    Formula   min over k >= rank of p_(k) · m / k
    Axes      p [test] → [test]; NaN stays and does not count
    Source    Benjamini & Hochberg 1995; scipy.stats.false_discovery_control
    """
    known = ~np.isnan(p)
    found = np.full(len(p), np.nan)
    if known.any():
        found[known] = _scipy().false_discovery_control(p[known])
    return found


def _by_pattern(values: Array, of: Callable[[Array], Array], columns: int) -> Array:
    """`of` the cells that have values for the same texts, all of them at once."""
    found = np.full((len(values), columns), np.nan)
    for cells, texts in _patterns(~np.isnan(values)):
        if texts.sum() >= FEWEST:
            found[cells] = of(values[np.ix_(cells, texts)])
    return found


def _patterns(known: Array) -> Iterator[tuple[Array, Array]]:
    if known.size:
        patterns, numbers = np.unique(known, axis=0, return_inverse=True)
        for number, pattern in enumerate(patterns):
            yield np.flatnonzero(numbers.ravel() == number), pattern


def _scipy() -> Any:
    try:
        import scipy.stats
    except ImportError as error:
        raise UsageError('intervals and tests need SciPy: pip install "attncli[analyses]"') from error
    return scipy.stats
