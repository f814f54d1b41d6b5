"""Scores on repeated random tokens: attention to the previous token, to an earlier copy, and to the token after it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch

from attncli.data import Kind, Rows, Scores
from attncli.stream.protocol import on_host
from attncli.stream.sums import HeadTable, OpenLayers, Sums
from attncli.studies.repeated.result import ALL_ROWS, SCORES, Repeated


def previous(length: int) -> int:
    """Does the head attend to the previous token?

    Formula   mean of A_i,i-1 over the rows of the second r of BOS r r
    Unit      1, from 0 to 1 (all of every row)
    Also      previous_all_rows: the same sum divided by all rows, at most about one half, as the "mul" scores of
              TransformerLens divide
    Baseline  previous_uniform: 1 / |S_i| for each such row; previous_shuffled: the second r in another order, which
              does not change a head that depends on position alone
    Source    Olsson et al. 2022, "In-context Learning and Induction Heads": the first half of an induction circuit
    """
    return -1


def duplicate(length: int) -> int:
    """Does the head attend to the earlier copy of the same token?

    Formula   mean of A_i,i-|r| over the rows of the second r of BOS r r
    Unit      1, from 0 to 1 (all of every row)
    Also      duplicate_all_rows: the same sum divided by all rows, at most about one half
    Baseline  duplicate_uniform: 1 / |S_i| for each such row; duplicate_shuffled: the same offset if the second r
              is in another order, so that another token is there
    Source    Olsson et al. 2022; Wang et al. 2022, "Interpretability in the Wild", for duplicate token heads
    """
    return -length


def induction(length: int) -> int:
    """Does the head attend to the token after the earlier copy of the same token?

    Formula   mean of A_i,i-|r|+1 over the rows of the second r of BOS r r
    Unit      1, from 0 to 1 (all of every row)
    Also      induction_all_rows: the same sum divided by all rows, at most about one half: the "mul" score of
              TransformerLens
    Baseline  induction_uniform: 1 / |S_i| for each such row; induction_shuffled: the same offset if the second r
              is in another order, so that only position is left
    Caveat    The tokens are random and differ from each other: text that repeats itself in part is not measured.
              In an encoder the later copy is visible too, so its rows can attend backwards and forwards.
    Source    Olsson et al. 2022, "In-context Learning and Induction Heads"
    """
    return 1 - length


TARGETS: dict[str, Callable[[int], int]] = {target.__name__: target for target in (previous, duplicate, induction)}


def questions() -> dict[str, str]:
    """Return the question that each score answers."""
    return {name: page.splitlines()[0] for name, page in pages().items()}


def pages() -> dict[str, str]:
    """Return the reference page of each score."""
    return {name: inspect.getdoc(target) or "" for name, target in TARGETS.items()}


@dataclass
class RepeatedSink:
    """A sink for the weights on the three targets, over the rows of the second copy.

    start   number of tokens before the first copy
    length  number of tokens of each copy
    """

    start: int
    length: int
    _open: OpenLayers = field(default_factory=OpenLayers)
    _table: HeadTable = field(default_factory=HeadTable)

    def add(self, rows: Rows) -> None:
        rows = on_host(rows)
        self._open.add(rows, self._sums(rows))

    def end_layer(self, kind: Kind, layer: int) -> None:
        for opened in self._open.pop(kind, layer):
            heads, total = opened.joined()
            masses = torch.stack([total["mass"], total["uniform"]], dim=2)
            by_all = masses / total["rows"][:, :, None]
            scores = torch.cat([masses / total["targets"][:, :, None], by_all], dim=-1).cpu().numpy()
            self._table.add((kind, layer, heads), scores, int(total["rows"][:, 0].sum()))

    def result(self, shuffled: RepeatedSink, seeds: Sequence[int]) -> Repeated:
        """Return the scores, with those of a sink that has seen inputs with a shuffled second copy as a baseline."""
        return Repeated(
            heads=self._scores("mean", 0),
            baselines={"uniform": self._scores("mean", 1), "shuffled": shuffled._scores("mean", 0)},
            length=self.length,
            seeds=tuple(seeds),
            std=self._scores("std", 0) if len(seeds) > 1 else {},
        )

    def _sums(self, rows: Rows) -> Sums:
        """Return mass, uniform mass and targets [batch, head, score], and the number of rows [batch, head, 1]."""
        positions = rows.query_positions
        offsets = positions.new_tensor([target(self.length) for target in TARGETS.values()])
        weights, exists = rows.weights_at(positions[..., None] + offsets)
        second = (positions >= self.start + self.length) & (positions < self.start + 2 * self.length)
        counts = (exists & (rows.real & second[:, None])[..., None]).expand(weights.shape).double()
        uniform = counts / rows.visible_count.clamp_min(1)[..., None]
        row_count = rows.real.sum(-1, keepdim=True).double().expand(-1, weights.shape[1], -1)
        mass = (weights.double() * counts).sum(2)
        return {"mass": mass, "uniform": uniform.sum(2), "targets": counts.sum(2), "rows": row_count}

    def _scores(self, moment: Literal["mean", "std"], variant: int) -> dict[str, Scores]:
        """Return one entry per head; `variant`: 0 observed, 1 uniform."""
        names = [*SCORES, *(name + ALL_ROWS for name in SCORES)]
        coords, values = self._table.rows(moment, (2, len(names)))
        return {
            name: Scores(name, values[:, variant, column], ("head",), coords, "1", (0.0, 1.0), "Olsson et al. 2022")
            for column, name in enumerate(names)
        }
