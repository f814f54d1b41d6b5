"""How often a head is right over many cases, and how often the best of them would be by chance."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from attncli.data import Array
from attncli.studies.check.permutations import FOLDS, SUITE_SAMPLES, drawn
from attncli.studies.check.result import Quantifier
from attncli.studies.check.weights import Demand, MeanRows


@dataclass(frozen=True, eq=False)
class Trial:
    """One case: where the heads look from its word, the keys meant and the other keys, and the unit it belongs to.

    unit  cases of one unit (a minimal pair) hold together only
    """

    mean_rows: MeanRows
    target: tuple[int, ...]
    other: tuple[int, ...]
    unit: int

    def holds(self, demand: Demand) -> Array:
        """[head] whether each head is right."""
        other = self.mean_rows.to(self.other) if self.other else None
        return demand.margins(self.mean_rows.to(self.target), other) >= 0


def unit_counts(held: Iterable[Array], units: Sequence[int]) -> Array:
    """[...] in how many units all cases hold, of [...] whether each case does, case by case.

    >>> unit_counts([np.array([True, True]), np.array([True, False]), np.array([False, True])], [0, 0, 1]).tolist()
    [1, 1]
    """
    together: dict[int, Array] = {}
    for unit, case in zip(units, held, strict=True):
        together[unit] = together[unit] & case if unit in together else case
    counts: Array = sum(together.values(), start=np.zeros((), np.int64))
    return counts


def suite_p(trials: Sequence[Trial], demand: Demand, over: Quantifier = "any") -> float:
    """How often would the best head hold in as many units, if keys were permuted in each case?

    Formula   p = (1 + hits) / (1 + samples): a hit is a sample in which some head (all: every head) holds in as many
              units as the best (the worst) one does in truth; 1,999 samples by one seed. In a sample the visible
              keys of each case are permuted, in all heads alike: the heads searched count as trials.
    Source    Phipson & Smyth 2010
    """
    combine, units = FOLDS[over], [trial.unit for trial in trials]
    observed = combine(unit_counts((trial.holds(demand) for trial in trials), units))
    rng = np.random.default_rng(0)
    sampled = combine(unit_counts((_sampled(trial, demand, rng) for trial in trials), units), axis=0)
    return float((1 + (sampled >= observed).sum()) / (1 + SUITE_SAMPLES))


def _sampled(trial: Trial, demand: Demand, rng: np.random.Generator) -> Array:
    """[head, sample] whether each head is right with the keys permuted."""
    rows, count = trial.mean_rows.rows, len(trial.target)
    seen = np.flatnonzero(trial.mean_rows.visible)
    chosen = drawn(rng, seen, count + len(trial.other), SUITE_SAMPLES)
    weight = rows[:, chosen[:, :count]].sum(-1)
    than = rows[:, chosen[:, count:]].sum(-1) if trial.other else None
    return demand.margins(np.round(weight, 6), None if than is None else np.round(than, 6)) >= 0
