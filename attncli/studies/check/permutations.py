"""Whether weights stand above chance: the same measure with the keys in another order."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np

from attncli.data import Array
from attncli.studies.check.result import TOLERANCE, Quantifier

EXACT_UP_TO = 20_000
SAMPLES = 9_999
SUITE_SAMPLES = 1_999
_ROUNDING = 1e-9
"""Sums of the same weights in another order differ by less."""

Combine = Callable[..., Array]
FOLDS: dict[Quantifier, Combine] = {"any": np.max, "all": np.min}
"""What a rule is held by: of rules for any head the best one, of rules for all the worst."""


def permutation_p(
    rows: Array, visible: Array, target: Sequence[int], over: Quantifier = "any", tolerance: float = TOLERANCE
) -> float:
    """How often would other keys get as much as the target, if some head may be chosen?

    rows       [head, key] the weights of each head
    visible    [key] which keys may be seen: those that are permuted, in all heads alike
    target     positions of the keys meant, whose weights are summed
    over       any: the measure is the largest sum over heads; all: the smallest
    tolerance  a sum that is smaller than the target's by at most this counts as equal

    Formula   p = share of the permutations π of the visible keys with T(π(target)) >= T(target) - tolerance,
              T(keys) = max_h Σ_{j in keys} A_hj. The heads searched count as trials: each permutation searches them too
    Exact     up to 20,000 different sets of keys: all of them; else p = (1 + hits) / (1 + samples) of 9,999 seeded ones
    Caveat    No p is smaller than 1 / (number of sets): one key of 12 cannot reach 0.05. Words of several pieces are
              held against any keys, also those that are no word.
    Source    Phipson & Smyth 2010, "Permutation P-values Should Never Be Zero"

    >>> permutation_p(np.array([[0.7, 0.1, 0.1, 0.1]]), np.ones(4, bool), [0])
    0.25
    >>> permutation_p(np.full((3, 4), 0.25), np.ones(4, bool), [0])
    1.0
    """
    combine, wanted = FOLDS[over], list(target)
    seen = np.flatnonzero(visible)
    reached = combine(rows[:, wanted].sum(1)) - tolerance - _ROUNDING
    sets = math.comb(len(seen), len(wanted))
    if sets <= EXACT_UP_TO:
        chosen = np.array(list(itertools.combinations(seen.tolist(), len(wanted))))
        hits = combine(_sums(rows, chosen), axis=0) >= reached
        return float(hits.mean())
    chosen = drawn(np.random.default_rng(0), seen, len(wanted), SAMPLES)
    hits = combine(_sums(rows, chosen), axis=0) >= reached
    return float((1 + hits.sum()) / (1 + SAMPLES))


def smallest_p(visible: int, target: int) -> float:
    """The smallest p that so many keys of so many visible ones can have.

    >>> smallest_p(12, 1)
    0.08333333333333333
    """
    sets = math.comb(visible, target)
    return 1 / sets if sets <= EXACT_UP_TO else 1 / (1 + SAMPLES)


def drawn(rng: np.random.Generator, seen: Array, count: int, samples: int) -> Array:
    """[sample, count] different ones of `seen`, each row a new draw."""
    order: Array = np.argsort(rng.random((samples, len(seen))), axis=1, kind="stable")[:, :count]
    taken: Array = seen[order]
    return taken


def _sums(rows: Array, chosen: Array) -> Array:
    """[head, set] of the weights on each set of keys."""
    sums: Array = np.zeros((len(rows), len(chosen)))
    for column in chosen.T:
        sums += rows[:, column]
    return sums
