"""Permutation p-values and confidence intervals of rates."""

import itertools
import math
from collections.abc import Callable, Sequence
from statistics import NormalDist

import numpy as np

from attncli.data import Array
from attncli.studies.check.result import TOLERANCE, Quantifier

EXACT_UP_TO = 20_000
SAMPLES = 9_999
SUITE_SAMPLES = 1_999
SEED = 0
"""Seed of all samples."""
_ROUNDING = 1e-9
"""More than two sums of the same weights in another order can differ by."""

Reduction = Callable[..., Array]
REDUCTIONS: dict[Quantifier, Reduction] = {"any": np.max, "all": np.min}
"""How values are reduced over heads: to the best head if any head may keep a rule, to the worst if all must."""


def permutation_p(
    rows: Array, visible: Array, target: Sequence[int], over: Quantifier = "any", tolerance: float = TOLERANCE
) -> float:
    """Return how often randomly chosen keys get as much weight as the target in the best head.

    rows       [head, key] weights of each head
    visible    [key] which keys are visible; these are permuted in the same way for all heads
    target     positions of the target keys, whose weights are summed
    over       any: the measure is the largest sum over heads; all: the smallest
    tolerance  a sum that is smaller than the target's by at most this counts as equal

    Formula   p = share of the permutations π of the visible keys with T(π(target)) >= T(target) - tolerance,
              T(keys) = max_h Σ_{j in keys} A_hj. Each permutation also takes the best head, which corrects for the
              number of heads searched.
    Exact     up to 20,000 different sets of keys: all of them; else p = (1 + hits) / (1 + samples) of 9,999 seeded ones
    Caveat    No p is smaller than 1 / (number of sets): one key of 12 cannot reach 0.05. A word of several pieces is
              compared with all sets of as many keys, also with keys that form no word.
    Source    Phipson & Smyth 2010, "Permutation P-values Should Never Be Zero"

    >>> permutation_p(np.array([[0.7, 0.1, 0.1, 0.1]]), np.ones(4, bool), [0])
    0.25
    >>> permutation_p(np.full((3, 4), 0.25), np.ones(4, bool), [0])
    1.0
    """
    reduce, target = REDUCTIONS[over], list(target)
    keys = np.flatnonzero(visible)
    threshold = reduce(rows[:, target].sum(1)) - tolerance - _ROUNDING
    if math.comb(len(keys), len(target)) <= EXACT_UP_TO:
        key_sets = np.array(list(itertools.combinations(keys.tolist(), len(target))))
        return float((reduce(_set_weights(rows, key_sets), axis=0) >= threshold).mean())
    key_sets = draw_key_sets(np.random.default_rng(SEED), keys, len(target), SAMPLES)
    hits = reduce(_set_weights(rows, key_sets), axis=0) >= threshold
    return float((1 + hits.sum()) / (1 + SAMPLES))


def smallest_p(visible: int, target: int) -> float:
    """Return the smallest possible p-value of `target` keys out of `visible` ones.

    >>> smallest_p(12, 1)
    0.08333333333333333
    """
    sets = math.comb(visible, target)
    return 1 / sets if sets <= EXACT_UP_TO else 1 / (1 + SAMPLES)


def draw_key_sets(rng: np.random.Generator, keys: Array, count: int, samples: int) -> Array:
    """Return random sets [sample, count] of `keys`; no key occurs twice in a set."""
    order: Array = np.argsort(rng.random((samples, len(keys))), axis=1, kind="stable")[:, :count]
    return np.asarray(keys[order])


def _set_weights(rows: Array, key_sets: Array) -> Array:
    """Return the summed weights [head, set] of each set of keys."""
    sums: Array = np.zeros((len(rows), len(key_sets)))
    for column in key_sets.T:
        sums += rows[:, column]
    return sums


def wilson(successes: int, trials: int, heads: int = 1) -> tuple[float, float]:
    """Return the ends of the 95 % confidence interval of a proportion.

    heads     number of heads of which this one was chosen on the same trials: the intervals of all of them hold
              together with 95 %

    Formula   (k + z²/2 ± z sqrt(k (n - k) / n + z²/4)) / (n + z²), z the normal quantile of 1 - 0.05 / (2 heads):
              1.96 for one head, 3.39 for 72 (Bonferroni)
    Unit      1, from 0 to 1; (0, 1) for no trials
    Caveat    Cases of one template are not independent of each other: then the true interval is wider.
    Source    Wilson 1927, "Probable Inference, the Law of Succession, and Statistical Inference"

    >>> [round(end, 4) for end in wilson(8, 10)]
    [0.4902, 0.9433]
    >>> [round(end, 4) for end in wilson(8, 10, heads=72)]
    [0.3058, 0.9732]
    """
    if trials == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(1 - 0.05 / (2 * heads))
    center = successes + z * z / 2
    half_width = z * math.sqrt(successes * (trials - successes) / trials + z * z / 4)
    low, high = (center - half_width) / (trials + z * z), (center + half_width) / (trials + z * z)
    return (0.0 if successes == 0 else low), (1.0 if successes == trials else high)
