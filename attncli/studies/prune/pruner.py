"""From texts to the order of heads, the stop and the curve."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from attncli.data import Array
from attncli.engine.paired_tests import FEWEST, intervals
from attncli.engine.progress import Track
from attncli.errors import UsageError
from attncli.studies.importance.compute import Ablation, Progress
from attncli.studies.importance.result import Importance
from attncli.studies.importance.units import LANGUAGE_MODELS
from attncli.studies.prune.compute import (
    Removal,
    Remover,
    UnitOrder,
    curve_counts,
    halves,
    prefix,
    random_orders,
    step_ends,
)
from attncli.studies.prune.options import PruneOptions
from attncli.studies.prune.ranking_file import ranking_of_file, ranking_of_result
from attncli.studies.prune.result import Pruning
from attncli.studies.prune.saving import Saver
from attncli.studies.prune.stopping import fixed_stop, stop_by_loss


@dataclass(frozen=True, eq=False)
class Pruner:
    """One run of `prune`.

    ranked         a result of `importance` that orders heads
    texts          number of the first texts of the ablation that are the user's
    ranking_texts  number of the texts after them, which only rank heads; 0 for one half of the user's texts
    progress       keeps results as they come
    """

    ablation: Ablation
    options: PruneOptions
    ranked: Importance | None
    texts: int
    ranking_texts: int
    progress: Progress
    remover: Remover = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "remover", Remover(self.ablation, self.progress))

    def run(self, track: Track) -> Pruning:
        """Rank heads, find where to stop, and measure the curve."""
        options, units = self.options, self.remover.units
        if len(units) < 2:
            raise UsageError(f"prune needs two heads or groups at least, {len(units)} is selected")
        stop = fixed_stop(options, len(units))
        if options.until_loss is not None and self.ablation.task not in LANGUAGE_MODELS:
            model = type(self.ablation.prepared.loaded.model).__name__
            raise UsageError(f"--until-loss needs a model that predicts tokens, not {model}: use --share or --heads")
        saver = Saver(self.ablation, options.form) if options.save is not None else None
        if saver is not None:
            saver.check()
        rank, curve = self._split()
        ranking = self._ranking(rank, track)
        if options.until_loss is not None:
            stop = self._stop(ranking, rank, options.until_loss, track)
        removal, notes = prefix(ranking.order, stop or 0), [*self.ablation.notes]
        if saver is not None and stop is not None and options.form == "smaller":
            removal, note = saver.even(ranking.order, stop)
            notes.append(note)
        columns, cost, loss = self._curve(ranking.order, stop, removal, curve, track)
        saved: dict[str, Any] = {}
        if saver is not None and options.save is not None:
            saved = {**saver.save(removal, Path(options.save), curve[0]), "effects": cost}
            if saved["heads_with_zeros"] and options.form == "irregular":
                notes.append(
                    f"{saved['heads_with_zeros']} removed heads stay with zeros: the key heads of a layer have equally "
                    "many heads, and no layer is without any"
                )
        measured = 0 if self._is_given else len(rank)
        heads = self._heads(ranking, removal)
        of_run = (self.ablation.task, options.unit, self.remover.measures)
        texts = measured, len(curve)
        return Pruning(*of_run, heads, columns, stop, loss, *texts, saved, tuple(notes), self.options.method)

    @property
    def _is_given(self) -> bool:
        """Whether a file or a result orders the heads."""
        return self.ranked is not None or self.options.importance is not None

    def _split(self) -> tuple[list[int], list[int]]:
        """Return the numbers of the texts that rank heads and stop, and those of the curve."""
        own = list(range(self.texts))
        if self.ranking_texts:
            return list(range(self.texts, self.texts + self.ranking_texts)), own
        if self._is_given and self.options.until_loss is None:
            return [], own
        if self.texts < 2:
            raise UsageError(
                "one text cannot rank heads and measure the curve too: give 2 texts or more, or texts for the ranking "
                "with --rank-file"
            )
        return halves(self.texts, self.options.seed)

    def _ranking(self, texts: Sequence[int], track: Track) -> UnitOrder:
        units = self.remover.units
        if self.ranked is not None:
            return ranking_of_result(self.ranked, units)
        if self.options.importance is not None:
            return ranking_of_file(self.options.importance, units)
        left = [0, *step_ends(len(units), self.options.steps)[:-1]]
        total = sum(len(units) - done for done in left) * len(texts)
        with track("ranking heads", total, "heads") as advance:
            return self.remover.rank(texts, self.options.steps, advance, self.options.method)

    def _stop(self, ranking: UnitOrder, texts: Sequence[int], until_loss: str, track: Track) -> int:
        removals = [prefix(ranking.order, count) for count in range(len(ranking.order) + 1)]
        with track("finding where to stop", len(removals) * len(texts), "removals") as advance:
            effects, losses = self.remover.effects(removals, texts, advance)
        first = self.remover.units[ranking.order[0]]
        return stop_by_loss(until_loss, effects["loss"].mean(1), float(losses.mean()), f"{first.layer[0]} {first.name}")

    def _curve(
        self, order: tuple[int, ...], stop: int | None, removal: Removal, texts: Sequence[int], track: Track
    ) -> tuple[dict[str, Array], dict[str, float], float]:
        """Return the rows of the curve as columns, the effects of `removal`, and the loss of the unedited model."""
        total = len(order)
        orders: list[tuple[str, int | None, Sequence[int]]] = [
            ("importance", None, order),
            ("reverse", None, order[::-1]),
        ]
        drawn = random_orders(total, self.options.orders, self.options.seed)
        orders += [("random", number, units) for number, units in enumerate(drawn)]
        rows = [(name, seed, units, count) for name, seed, units in orders for count in curve_counts(total, stop)]
        # equal removals are measured once
        removals = dict.fromkeys([removal, *(prefix(units, count) for _, _, units, count in rows)])
        numbers = {removed: number for number, removed in enumerate(removals)}
        with track("measuring the curve", len(removals) * len(texts), "removals") as advance:
            effects, losses = self.remover.effects(list(removals), texts, advance)
        places = [numbers[prefix(units, count)] for _, _, units, count in rows]
        columns: dict[str, Array] = {
            "order": np.array([name for name, *_ in rows]),
            "seed": np.array([seed for _, seed, *_ in rows], dtype=object),
            "heads": np.array([count for *_, count in rows]),
            "share": np.array([count / total for *_, count in rows]),
        }
        for name, values in effects.items():
            columns[name] = values.mean(1)[places]
            if len(texts) >= FEWEST:
                low, high = intervals(values).T
                columns |= {f"{name}_low": low[places], f"{name}_high": high[places]}
        return columns, {name: float(values[0].mean()) for name, values in effects.items()}, float(losses.mean())

    def _heads(self, ranking: UnitOrder, removal: Removal) -> dict[str, Array]:
        """Return the order of the heads as columns."""
        units = [self.remover.units[number] for number in ranking.order]
        columns: dict[str, Array] = {
            "rank": np.arange(1, len(units) + 1),
            "name": np.array([unit.name for unit in units]),
            "kind": np.array([unit.layer[0] for unit in units]),
            "layer": np.array([unit.layer[1] for unit in units]),
        }
        if self.options.unit == "head":
            columns["head"] = np.array([unit.head for unit in units])
        else:
            columns["group"] = np.array([unit.group for unit in units])
            columns["heads"] = np.array([" ".join(map(str, unit.heads)) for unit in units])
        columns["importance"] = ranking.values[list(ranking.order)]
        columns["removed"] = np.array([number in removal for number in ranking.order])
        return columns
