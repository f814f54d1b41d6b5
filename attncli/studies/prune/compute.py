"""The output of a model without many heads: how heads are ranked, where removal stops, and the curve."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from attncli.capturing.gates import Gate, LayerKey
from attncli.data import Array
from attncli.engine.progress import Advance
from attncli.inputs.text_files import check_exists, read_file_text
from attncli.studies.importance.compute import MEASURES, TOKENS_AT_ONCE, Ablation, Progress
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
class RankingMethod:
    """How heads are removed while they are ranked, one on top of others.

    method   zero, mean or gradient
    removed  units that are removed already, by zero
    means    [head, dim] mean output of the heads of each layer; empty for other methods
    """

    method: str = "zero"
    removed: Removal = frozenset()
    means: Mapping[LayerKey, torch.Tensor] = field(default_factory=dict)


BY_ZERO = RankingMethod()


@dataclass(frozen=True, eq=False)
class Remover:
    """Measures the output of a model without many heads at once. Nothing is measured twice.

    progress  keeps results as they come, so that an interrupted run continues
    """

    ablation: Ablation
    progress: Progress
    _losses: dict[int, float] = field(default_factory=dict)
    _effects: dict[tuple[int, str, Removal], Mapping[str, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for entry in self.progress.done():
            self._store(entry)

    @property
    def units(self) -> list[Unit]:
        return self.ablation.units

    @property
    def measures(self) -> tuple[str, ...]:
        """The names of the effects, the main one first."""
        return MEASURES[self.ablation.task]

    def effects(
        self, removals: Sequence[Removal], texts: Sequence[int], advance: Advance, ranking: RankingMethod = BY_ZERO
    ) -> tuple[dict[str, Array], Array]:
        """Return the effects of each removal on each text, measure → [removal, text], and losses without any, [text].

        texts    numbers of texts of the ablation
        advance  is called with the number of removals that are measured on a text
        ranking  how heads are removed
        """
        method = ranking.method
        for number in texts:
            waiting = [removal for removal in removals if (number, method, removal) not in self._effects]
            advance(len(removals) - len(waiting))
            if waiting or number not in self._losses:
                self._measure(number, waiting, advance, ranking)
        values = {
            name: np.array([[self._effects[number, method, removal][name] for number in texts] for removal in removals])
            for name in (("gradient",) if method == "gradient" else self.measures)
        }
        return values, np.array([self._losses[number] for number in texts])

    @torch.no_grad()
    def _measure(self, number: int, removals: Sequence[Removal], advance: Advance, ranking: RankingMethod) -> None:
        """Measure removals on one text, and keep what is measured."""
        text = self.ablation.texts[number]
        outcome = self.ablation.outcome(text, self.ablation.reruns.record(text.tensors))
        self._keep({"text": number, "loss": None if np.isnan(outcome.loss) else outcome.loss})
        method = ranking.method
        for part in [removals] if method == "gradient" else self._batches(outcome, removals):
            measured = self._gradients if method == "gradient" else self._of_batch
            values = measured(outcome, part, ranking)
            listed = {name: of_part.tolist() for name, of_part in values.items()}
            self._keep({"text": number, "method": method, "removals": [sorted(r) for r in part], "effects": listed})
            advance(len(part))

    def _keep(self, entry: Mapping[str, Any]) -> None:
        self._store(entry)
        self.progress.keep(entry)

    def _store(self, entry: Mapping[str, Any]) -> None:
        if "loss" in entry:
            self._losses[entry["text"]] = float("nan") if entry["loss"] is None else entry["loss"]
            return
        for row, removal in enumerate(entry["removals"]):
            values = {name: of_part[row] for name, of_part in entry["effects"].items()}
            self._effects[entry["text"], entry["method"], frozenset(removal)] = values

    def rank(self, texts: Sequence[int], steps: int, advance: Advance, method: str = "zero") -> UnitOrder:
        """Return the units in the order of their effects on texts, measured anew at each step; see `ranked_by`.

        method  how a unit is removed while it is ranked, as in importance
        """
        count = len(self.units)
        means = self.ablation.means(texts) if method == "mean" else {}
        order: list[int] = []
        values = np.full(count, np.nan)
        for end in step_ends(count, steps):
            rest = [number for number in range(count) if number not in order]
            ranking = RankingMethod(method, frozenset(order), means)
            effects, _ = self.effects([frozenset({*order, number}) for number in rest], texts, advance, ranking)
            main = ranked_by(tuple(effects))
            sizes = loss_of(main, effects[main].mean(1))
            values[rest] = sizes
            order += [rest[place] for place in np.argsort(sizes, kind="stable")[: end - len(order)]]
        return UnitOrder(tuple(order), values)

    def _batches(self, outcome: Outcome, removals: Sequence[Removal]) -> list[list[Removal]]:
        """Return the removals that are computed at once: those whose lowest removed layers are near each other."""
        tokens = sum(tensor.shape[1] for name, tensor in outcome.tensors.items() if name.endswith("input_ids"))
        size = max(1, TOKENS_AT_ONCE // tokens)
        ordered = sorted(removals, key=lambda removal: min(removal, default=-1))
        return [ordered[start : start + size] for start in range(0, len(ordered), size)]

    def _of_batch(self, outcome: Outcome, removals: Sequence[Removal], ranking: RankingMethod) -> Mapping[str, Array]:
        factors = self._factors(removals)
        if not factors:
            return {name: np.zeros(len(removals)) for name in self.measures}
        means = self._means(ranking)
        gates = {layer: Gate(factor, means.get(layer)) for layer, factor in factors.items()}
        return outcome.effects(gates, len(removals))

    def _factors(self, removals: Sequence[Removal]) -> dict[LayerKey, torch.Tensor]:
        """Return the factors of the heads of each layer with removed heads, [removal, head]."""
        factors: dict[LayerKey, torch.Tensor] = {}
        reruns = self.ablation.reruns
        for row, removal in enumerate(removals):
            for number in removal:
                unit = self.units[number]
                if unit.layer not in factors:
                    heads = reruns.sites[unit.layer].heads
                    factors[unit.layer] = torch.ones(len(removals), heads, device=reruns.device)
                factors[unit.layer][row, list(unit.heads)] = 0
        return factors

    def _means(self, ranking: RankingMethod) -> dict[LayerKey, torch.Tensor]:
        """Return what replaces the heads of each layer while they are ranked: zero for those that are removed."""
        means = {layer: mean.clone() for layer, mean in ranking.means.items()}
        for number in ranking.removed if means else ():
            means[self.units[number].layer][list(self.units[number].heads)] = 0
        return means

    def _gradients(self, outcome: Outcome, removals: Sequence[Removal], ranking: RankingMethod) -> dict[str, Array]:
        """Return |dL/dgate| of the unit that each removal has besides those that are removed already."""
        of_heads = outcome.gradients(self._factors([ranking.removed]))
        units = [self.units[next(iter(removal - ranking.removed))] for removal in removals]
        return {"gradient": np.array([of_heads[unit.layer][list(unit.heads)].sum() for unit in units])}


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
