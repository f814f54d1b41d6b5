"""The output of a model without many heads: how heads are ranked, where removal stops, and the curve."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from attncli.capturing.gates import Gate, LayerKey
from attncli.data import Array
from attncli.engine.progress import Advance
from attncli.inputs.text_files import check_exists, read_file_text
from attncli.studies.importance.compute import MEASURES, TOKENS_AT_ONCE, Ablation
from attncli.studies.importance.outcomes import Outcome
from attncli.studies.importance.units import Unit
from attncli.studies.prune.result import loss_of, ranked_by

Removal = frozenset[int]
"""Numbers of the units that are removed together."""
MOST_POINTS = 20
"""Largest number of steps of a curve."""


@dataclass(frozen=True, eq=False)
class UnitOrder:
    """The units, the least important first.

    order   numbers of units
    values  [unit] the effect of removing each on top of what its step had removed; NaN for an order from a file
            that has no value
    """

    order: tuple[int, ...]
    values: Array


@dataclass(frozen=True, eq=False)
class Remover:
    """Measures the output of a model without many heads at once."""

    ablation: Ablation

    @property
    def units(self) -> list[Unit]:
        return self.ablation.units

    @property
    def measures(self) -> tuple[str, ...]:
        """The names of the effects, the main one first."""
        return MEASURES[self.ablation.task]

    @torch.no_grad()
    def effects(
        self, removals: Sequence[Removal], texts: Sequence[int], advance: Advance
    ) -> tuple[Mapping[str, Array], float]:
        """Return the mean effect of each removal over texts, measure → [removal], and the mean loss without any.

        texts    numbers of texts of the ablation
        advance  is called with the number of removals that are measured on a text
        """
        sums = {name: np.zeros(len(removals)) for name in self.measures}
        losses = []
        for number in texts:
            text = self.ablation.texts[number]
            outcome = self.ablation.outcome(text, self.ablation.reruns.record(text.tensors))
            losses.append(outcome.loss)
            for part in self._batches(outcome, removals):
                for name, values in self._of_batch(outcome, [removals[row] for row in part]).items():
                    sums[name][part] += values
                advance(len(part))
        return {name: total / len(texts) for name, total in sums.items()}, float(np.mean(losses))

    def rank(self, texts: Sequence[int], steps: int, advance: Advance) -> UnitOrder:
        """Return the units in the order of their effects on texts, measured anew at each step; see `ranked_by`."""
        count = len(self.units)
        order: list[int] = []
        values = np.full(count, np.nan)
        for end in step_ends(count, steps):
            rest = [number for number in range(count) if number not in order]
            effects, _ = self.effects([frozenset({*order, number}) for number in rest], texts, advance)
            main = ranked_by(self.measures)
            sizes = loss_of(main, effects[main])
            values[rest] = sizes
            order += [rest[place] for place in np.argsort(sizes, kind="stable")[: end - len(order)]]
        return UnitOrder(tuple(order), values)

    def _batches(self, outcome: Outcome, removals: Sequence[Removal]) -> list[list[int]]:
        """Return the rows that are computed at once: those whose lowest removed layers are near each other."""
        tokens = sum(tensor.shape[1] for name, tensor in outcome.tensors.items() if name.endswith("input_ids"))
        size = max(1, TOKENS_AT_ONCE // tokens)
        rows = sorted(range(len(removals)), key=lambda row: min(removals[row], default=-1))
        return [rows[start : start + size] for start in range(0, len(rows), size)]

    def _of_batch(self, outcome: Outcome, removals: Sequence[Removal]) -> Mapping[str, Array]:
        factors: dict[LayerKey, Any] = {}
        reruns = self.ablation.reruns
        for row, removal in enumerate(removals):
            for number in removal:
                unit = self.units[number]
                if unit.layer not in factors:
                    heads = reruns.sites[unit.layer].heads
                    factors[unit.layer] = torch.ones(len(removals), heads, device=reruns.device)
                factors[unit.layer][row, list(unit.heads)] = 0
        if not factors:
            return {name: np.zeros(len(removals)) for name in self.measures}
        return outcome.effects({layer: Gate(factor) for layer, factor in factors.items()}, len(removals))


def step_ends(count: int, steps: int) -> list[int]:
    """Return how many units are ranked after each step.

    >>> step_ends(10, 3), step_ends(2, 5)
    ([3, 7, 10], [1, 2])
    """
    return sorted({max(1, round(count * step / steps)) for step in range(1, steps + 1)})


def curve_counts(count: int, stop: int | None) -> list[int]:
    """Return the numbers of removed units of a curve: 0, `count`, at most 19 between them, and `stop`.

    >>> curve_counts(3, None)
    [0, 1, 2, 3]
    """
    points = np.linspace(0, count, min(count, MOST_POINTS) + 1).round().astype(int).tolist()
    return sorted({*points, *([] if stop is None else [stop])})


def halves(count: int, seed: int) -> tuple[list[int], list[int]]:
    """Return the texts that rank heads, and those of the curve: two random halves."""
    shuffled = np.random.default_rng([seed, count]).permutation(count)
    return sorted(shuffled[: count // 2].tolist()), sorted(shuffled[count // 2 :].tolist())


def random_orders(count: int, orders: int, seed: int) -> list[tuple[int, ...]]:
    """Return random orders of units; the first n of them do not depend on how many there are."""
    return [tuple(np.random.default_rng([seed, number]).permutation(count).tolist()) for number in range(orders)]


def prefix(order: Sequence[int], count: int) -> Removal:
    """Return the first `count` units of an order."""
    return frozenset(order[:count])


def file_sha256(path: str) -> str:
    """Return the hash of the contents of a file; raise UsageError if it cannot be read."""
    check_exists(path)
    return hashlib.sha256(read_file_text(path).encode()).hexdigest()
