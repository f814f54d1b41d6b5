"""Scores on repeated random tokens: attention to the previous token, to an earlier copy, and to the token after it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from attncli.data import KINDS, Array, Kind, Rows, Scores
from attncli.stream import selected
from attncli.stream.sums import Moments, Sums, add_sums, join_heads
from attncli.studies.repeated.result import ALL_ROWS, SCORES, Repeated

BASELINE = "uniform"
SOURCE = "Olsson et al. 2022"


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
class _LayerScores:
    """Scores of some heads of a layer over the seeds so far: moments [head, observed or uniform, score]."""

    moments: Moments
    texts: int = 0
    queries: int = 0


@dataclass
class RepeatedSink:
    """A sink for the weights on the three targets, over the rows of the second copy.

    start   number of tokens before the first copy
    length  number of tokens of each copy
    """

    start: int
    length: int
    _open: dict[tuple[Kind, int, tuple[int, ...]], dict[tuple[int, ...], Sums]] = field(default_factory=dict)
    _layers: dict[tuple[Kind, int, tuple[int, ...]], _LayerScores] = field(default_factory=dict)

    def add(self, rows: Rows) -> None:
        """Add one block of rows."""
        part = selected(rows, None)
        assert part is not None
        parts = self._open.setdefault((part.kind, part.layer, part.texts), {})
        parts[part.heads] = add_sums(parts.get(part.heads), self._sums(part))

    def end_layer(self, kind: Kind, layer: int) -> None:
        """Add the scores of a layer to the moments over seeds."""
        for key in [key for key in self._open if key[:2] == (kind, layer)]:
            heads, total = join_heads(self._open.pop(key).items())
            masses = torch.stack([total["mass"], total["uniform"]], dim=2)
            by_all = masses / total["rows"][:, :, None]
            scores = torch.cat([masses / total["targets"][:, :, None], by_all], dim=-1).cpu().numpy()
            of_layer = self._layers.setdefault((kind, layer, heads), _LayerScores(Moments(scores.shape[1:])))
            of_layer.moments.add(scores)
            of_layer.texts += len(scores)
            of_layer.queries += int(total["rows"][:, 0].sum())

    def result(self, shuffled: RepeatedSink, seeds: Sequence[int]) -> Repeated:
        """Return the scores, with those of a sink that has seen inputs with a shuffled second copy as a baseline."""
        return Repeated(
            heads=self._table("mean", 0),
            baselines={BASELINE: self._table("mean", 1), "shuffled": shuffled._table("mean", 0)},
            length=self.length,
            seeds=tuple(seeds),
            std=self._table("std", 0) if len(seeds) > 1 else {},
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
        return {
            "mass": (weights.double() * counts).sum(2),
            "uniform": uniform.sum(2),
            "targets": counts.sum(2),
            "rows": row_count,
        }

    def _table(self, moment: str, variant: int) -> dict[str, Scores]:
        """Return one entry per head, ordered by kind, layer and head; `variant`: 0 observed, 1 uniform."""
        rows = []
        for (kind, layer, heads), scores in self._layers.items():
            moments: Array = getattr(scores.moments, moment)
            rows += [((KINDS.index(kind), layer, head), scores, moments[i, variant]) for i, head in enumerate(heads)]
        rows.sort(key=lambda row: row[0])
        coords = {
            "kind": ("head", np.array([KINDS[key[0]] for key, _, _ in rows] + [None], dtype=object)[:-1]),
            "layer": ("head", np.array([key[1] for key, _, _ in rows], dtype=np.int64)),
            "head": ("head", np.array([key[2] for key, _, _ in rows], dtype=np.int64)),
            "texts": ("head", np.array([scores.texts for _, scores, _ in rows], dtype=np.int64)),
            "queries": ("head", np.array([scores.queries for _, scores, _ in rows], dtype=np.int64)),
        }
        names = [*SCORES, *(name + ALL_ROWS for name in SCORES)]
        values = np.array([value for _, _, value in rows]).reshape(len(rows), len(names))
        return {
            name: Scores(name, values[:, column], ("head",), coords, "1", (0.0, 1.0), SOURCE)
            for column, name in enumerate(names)
        }
