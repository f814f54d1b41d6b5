"""Counts of the cases in which a head is right, and how often permuted keys reach the count of the best head."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from attncli.data import Array
from attncli.studies.check.permutations import REDUCTIONS, SUITE_SAMPLES, draw_key_sets
from attncli.studies.check.result import Quantifier
from attncli.studies.check.weights import Demand, MeanRows


@dataclass(frozen=True, eq=False)
class Trial:
    """One case of a suite, with the weights of all heads.

    mean_rows  mean weights from the query word
    target     positions of the target word
    other      positions of the word to compare with; empty if there is none
    unit       number of the unit, such as a minimal pair; a unit holds if all its cases hold
    """

    mean_rows: MeanRows
    target: tuple[int, ...]
    other: tuple[int, ...]
    unit: int

    def holds(self, demand: Demand) -> Array:
        """Return whether each head [head] is right."""
        other = self.mean_rows.to(self.other) if self.other else None
        return demand.margins(self.mean_rows.to(self.target), other) >= 0


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
    counts: Array = sum(unit_holds.values(), start=np.zeros((), np.int64))
    return counts


def suite_p(trials: Sequence[Trial], demand: Demand, over: Quantifier = "any") -> float:
    """Return the p-value of the best head: how often it would hold in as many units if keys were permuted.

    Formula   p = (1 + hits) / (1 + samples): a hit is a sample in which some head (all: every head) holds in at least
              as many units as the best (all: the worst) head of the real data; 1,999 samples with one seed. A sample
              permutes the visible keys of each case in the same way for all heads, which corrects for the number of
              heads searched.
    Source    Phipson & Smyth 2010
    """
    reduce, units = REDUCTIONS[over], [trial.unit for trial in trials]
    observed = reduce(unit_counts((trial.holds(demand) for trial in trials), units))
    rng = np.random.default_rng(0)
    sampled = reduce(unit_counts((_permuted_holds(trial, demand, rng) for trial in trials), units), axis=0)
    return float((1 + (sampled >= observed).sum()) / (1 + SUITE_SAMPLES))


def _permuted_holds(trial: Trial, demand: Demand, rng: np.random.Generator) -> Array:
    """Return whether each head [head, sample] is right with permuted keys."""
    rows, count = trial.mean_rows.rows, len(trial.target)
    visible = np.flatnonzero(trial.mean_rows.visible)
    key_sets = draw_key_sets(rng, visible, count + len(trial.other), SUITE_SAMPLES)
    weight = rows[:, key_sets[:, :count]].sum(-1)
    than = rows[:, key_sets[:, count:]].sum(-1) if trial.other else None
    return demand.margins(np.round(weight, 6), None if than is None else np.round(than, 6)) >= 0
