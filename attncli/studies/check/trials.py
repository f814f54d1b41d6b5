"""The cases of a suite as trials: how many units each head has right, and what permuted keys give."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from attncli.data import Array
from attncli.studies.check.result import Quantifier
from attncli.studies.check.statistics import EXACT_UP_TO, REDUCTIONS, SEED, SUITE_SAMPLES, draw_key_sets
from attncli.studies.check.weights import DIGITS, Demand, MeanRows


@dataclass(frozen=True, eq=False)
class Trial:
    """One case of a suite: the weights of all heads, and the positions of the target and of the other word, if any.

    unit  number of the unit, such as a minimal pair; a unit holds if all its cases hold
    """

    mean_rows: MeanRows
    target: tuple[int, ...]
    other: tuple[int, ...]
    unit: int

    def margins(self, demand: Demand) -> Array:
        """Return how clearly each head [head] is right: negative if it is wrong."""
        other = self.mean_rows.to(self.other) if self.other else None
        return demand.margins(self.mean_rows.to(self.target), other)

    def of_head(self, head: int) -> Trial:
        """Return the trial with only one head, which is given by its index."""
        return replace(self, mean_rows=replace(self.mean_rows, rows=self.mean_rows.rows[[head]]))


def unit_counts(holds: Iterable[Array], units: Sequence[int]) -> Array:
    """Return the number of units [...] whose cases all hold.

    holds  for each case, an array [...] of whether it holds
    units  unit of each case

    >>> unit_counts([np.array([True, True]), np.array([True, False]), np.array([False, True])], [0, 0, 1]).tolist()
    [1, 1]
    """
    unit_holds: dict[int, Array] = {}
    for unit, case_holds in zip(units, holds, strict=True):
        unit_holds[unit] = unit_holds[unit] & case_holds if unit in unit_holds else case_holds
    return np.asarray(sum(unit_holds.values(), start=np.zeros((), np.int64)))


def suite_p(trials: Sequence[Trial], demand: Demand, over: Quantifier = "any") -> float:
    """Return the p-value of the best head: how often it would hold in as many units if keys were permuted.

    Formula   p = (1 + hits) / (1 + samples): a hit is a sample in which some head (all: every head) holds in at least
              as many units as the best (all: the worst) head of the real data; 1,999 samples with one seed. A sample
              permutes the visible keys of each case in the same way for all heads, which corrects for the number of
              heads searched.
    Source    Phipson & Smyth 2010
    """
    reduce, units = REDUCTIONS[over], [trial.unit for trial in trials]
    observed = reduce(unit_counts((trial.margins(demand) >= 0 for trial in trials), units))
    rng = np.random.default_rng(SEED)
    sampled = reduce(unit_counts((_permuted_holds(trial, demand, rng) for trial in trials), units), axis=0)
    return float((1 + (sampled >= observed).sum()) / (1 + SUITE_SAMPLES))


def guess_rate(trials: Sequence[Trial], demand: Demand) -> float:
    """Return the share of units in which one head would hold if keys were permuted: what guessing gives.

    trials  trials of a single head

    Formula   mean over units of Π_{cases of the unit} P(the case holds with its visible keys permuted)
    Exact     for words of one token: all pairs of keys; else 1,999 samples with one seed
    Note      1/2 for a case that only asks which of two words of one token gets more, less what ties take; 1/2^n for a
              unit of n such cases. Longer words get more by their length.
    """
    rng = np.random.default_rng(SEED)
    chances: dict[int, float] = {}
    for trial in trials:
        chances[trial.unit] = chances.get(trial.unit, 1.0) * _guess_share(trial, demand, rng)
    return float(np.mean(list(chances.values())))


def _guess_share(trial: Trial, demand: Demand, rng: np.random.Generator) -> float:
    weights = trial.mean_rows.rows[0, trial.mean_rows.visible]
    if len(trial.target) > 1 or len(trial.other) > 1 or len(weights) ** 2 > EXACT_UP_TO:
        return float(_permuted_holds(trial, demand, rng).mean())
    if not trial.other:
        return float((demand.margins(weights, None) >= 0).mean())
    first, second = np.nonzero(~np.eye(len(weights), dtype=bool))
    return float((demand.margins(weights[first], weights[second]) >= 0).mean())


def _permuted_holds(trial: Trial, demand: Demand, rng: np.random.Generator) -> Array:
    """Return whether each head [head, sample] is right with permuted keys."""
    rows, count = trial.mean_rows.rows, len(trial.target)
    visible = np.flatnonzero(trial.mean_rows.visible)
    key_sets = draw_key_sets(rng, visible, count + len(trial.other), SUITE_SAMPLES)
    weight = rows[:, key_sets[:, :count]].sum(-1)
    than = rows[:, key_sets[:, count:]].sum(-1) if trial.other else None
    return demand.margins(np.round(weight, DIGITS), None if than is None else np.round(than, DIGITS)) >= 0
