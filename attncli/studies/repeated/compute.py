"""Scores on passages that come twice: attention to the previous token, an earlier copy, and the token after it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from attncli.data import Kind, Rows, Scores
from attncli.stream.protocol import on_host
from attncli.stream.sums import HeadTable, OpenLayers, Sums
from attncli.studies.repeated.result import ALL_ROWS, SCORES, Repeated


def previous(lengths: torch.Tensor) -> torch.Tensor:
    """Does the head attend to the previous token?

    Formula   mean of A_i,i-1 over the rows of the second r of BOS r r
    Unit      1, from 0 to 1 (all of every row)
    Also      previous_all_rows: the sum of A_i,i-1 over all rows that have a previous token, divided by all rows, as
              the "mul" score of TransformerLens: at most (n - 1) / n
    Baseline  previous_uniform: 1 / |S_i| for each such row; previous_shuffled: the second r in another order, which
              does not change a head that depends on position alone
    Source    Olsson et al. 2022, "In-context Learning and Induction Heads": the first half of an induction circuit
    """
    return -torch.ones_like(lengths)


def duplicate(lengths: torch.Tensor) -> torch.Tensor:
    """Does the head attend to the earlier copy of the same token?

    Formula   mean of A_i,i-|r| over the rows of the second r of BOS r r
    Unit      1, from 0 to 1 (all of every row)
    Also      duplicate_all_rows: the same sum divided by all rows, as the "mul" score of TransformerLens: only rows of
              the second r have an earlier copy, so it is at most |r| / n
    Baseline  duplicate_uniform: 1 / |S_i| for each such row; duplicate_shuffled: the same offset if the second r
              is in another order, so that another token is there
    Source    Olsson et al. 2022; Wang et al. 2022, "Interpretability in the Wild", for duplicate token heads
    """
    return -lengths


def induction(lengths: torch.Tensor) -> torch.Tensor:
    """Does the head attend to the token after the earlier copy of the same token?

    Formula   mean of A_i,i-|r|+1 over the rows of the second r of BOS r r
    Unit      1, from 0 to 1 (all of every row)
    Also      induction_all_rows: the same sum divided by all rows, as the "mul" score of TransformerLens: only rows of
              the second r have an earlier copy, so it is at most |r| / n
    Baseline  induction_uniform: 1 / |S_i| for each such row; induction_shuffled: the same offset if the second r
              is in another order, so that only position is left
    Caveat    Random tokens differ from each other. In a passage of the user (--probe-text) a token may come several
              times; the earlier copy is always the one at the distance |r|.
              In an encoder the later copy is visible too, so its rows can attend backwards and forwards.
    Source    Olsson et al. 2022, "In-context Learning and Induction Heads"
    """
    return 1 - lengths


TARGETS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    target.__name__: target for target in (previous, duplicate, induction)
}
"""For each score, the offset of its target from a row, for passages of these lengths."""


def questions() -> dict[str, str]:
    """Return the question that each score answers."""
    return {name: page.splitlines()[0] for name, page in pages().items()}


def pages() -> dict[str, str]:
    """Return the reference page of each score."""
    return {name: inspect.getdoc(target) or "" for name, target in TARGETS.items()}


@dataclass
class RepeatedSink:
    """A sink for the weights on the three targets, over the rows of the second copy.

    start    number of tokens before the first copy
    lengths  number of tokens of each copy, for each text
    """

    start: int
    lengths: Sequence[int]
    _open: OpenLayers = field(default_factory=OpenLayers)
    _table: HeadTable = field(default_factory=HeadTable)

    def add(self, rows: Rows) -> None:
        rows = on_host(rows)
        self._open.add(rows, self._sums(rows))

    def end_layer(self, kind: Kind, layer: int) -> None:
        for opened in self._open.pop(kind, layer):
            heads, total = opened.joined()
            of_second = torch.stack([total["second"], total["second_uniform"]], dim=2) / total["targets"][:, :, None]
            of_all = torch.stack([total["all"], total["all_uniform"]], dim=2) / total["rows"][:, :, None]
            scores = torch.cat([of_second, of_all], dim=-1).cpu().numpy()
            self._table.add((kind, layer, heads), scores, int(total["rows"][:, 0].sum()))

    def result(self, shuffled: RepeatedSink, **more: Any) -> Repeated:
        """Return the scores, with those of a sink that has seen inputs with a shuffled second copy as a baseline.

        more  further fields of `Repeated`
        """
        return Repeated(
            heads=self.scores("mean", 0),
            baselines={"uniform": self.scores("mean", 1), "shuffled": shuffled.scores("mean", 0)},
            lengths=tuple(self.lengths),
            std=self.scores("std", 0) if len(self.lengths) > 1 else {},
            **more,
        )

    def _sums(self, rows: Rows) -> Sums:
        """Return sums over rows: of weights on the targets, of uniform ones, of targets, [batch, head, score], of rows.

        `second` is over the rows of the second copy; `all` over all rows that have the target before them.
        """
        positions = rows.query_positions
        lengths = positions.new_tensor([[self.lengths[text]] for text in rows.texts])
        offsets = torch.stack([target(lengths) for target in TARGETS.values()], dim=-1)
        weights, exists = rows.weights_at(positions[..., None] + offsets)
        in_second = (positions >= self.start + lengths) & (positions < self.start + 2 * lengths)
        has_target = exists & rows.real[..., None]
        second = has_target & in_second[:, None, :, None]
        # every row may have a previous token, but only those of the second copy have an earlier copy
        every = torch.cat([has_target[..., :1], second[..., 1:]], dim=-1)
        row_count = rows.real.sum(-1, keepdim=True).double().expand(-1, weights.shape[1], -1)
        sums = {"rows": row_count}
        for name, counted in (("second", second), ("all", every)):
            counts = counted.expand(weights.shape).double()
            sums[name] = (weights.double() * counts).sum(2)
            sums[f"{name}_uniform"] = (counts / rows.visible_count.clamp_min(1)[..., None]).sum(2)
            if counted is second:
                sums["targets"] = counts.sum(2)
        return sums

    def scores(self, moment: Literal["mean", "std"], variant: int) -> dict[str, Scores]:
        """Return one entry per head; `variant`: 0 observed, 1 uniform."""
        names = [*SCORES, *(name + ALL_ROWS for name in SCORES)]
        coords, values = self._table.rows(moment, (2, len(names)))
        return {
            name: Scores(name, values[:, variant, column], ("head",), coords, "1", (0.0, 1.0), "Olsson et al. 2022")
            for column, name in enumerate(names)
        }
