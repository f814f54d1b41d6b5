"""The test of repeated random tokens: which heads look back to where the same token stood, or to what came after it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from attncli.data import KINDS, Array, Kind, Rows, Scores
from attncli.stream import selected
from attncli.stream.head_sums import Sums, add_sums, join_heads
from attncli.stream.moments import Moments
from attncli.studies.repeated.result import ALL_ROWS, SCORES, Repeated

BASELINE = "uniform"
SOURCE = "Olsson et al. 2022"


def previous(length: int) -> int:
    """Does the head look at the token before?

    Formula   mean of A_i,i-1 over the rows of the second r of BOS r r
    Unit      1, from 0 to 1 (all of every row)
    Also      previous_all_rows: the same sum divided by all rows, at most about one half, as the "mul" scores of
              TransformerLens divide
    Baseline  previous_uniform: 1 / |S_i| for each such row; previous_shuffled: the second r in another order, which
              leaves a head of positions as it is
    Source    Olsson et al. 2022, "In-context Learning and Induction Heads": the first half of an induction circuit
    """
    return -1


def duplicate(length: int) -> int:
    """Does the head look at where the same token stood before?

    Formula   mean of A_i,i-|r| over the rows of the second r of BOS r r
    Unit      1, from 0 to 1 (all of every row)
    Also      duplicate_all_rows: the same sum divided by all rows, at most about one half
    Baseline  duplicate_uniform: 1 / |S_i| for each such row; duplicate_shuffled: the same offset where the second r
              comes in another order, so that another token stands there
    Source    Olsson et al. 2022; Wang et al. 2022, "Interpretability in the Wild", for duplicate token heads
    """
    return -length


def induction(length: int) -> int:
    """Does the head look at what came after the same token the last time?

    Formula   mean of A_i,i-|r|+1 over the rows of the second r of BOS r r
    Unit      1, from 0 to 1 (all of every row)
    Also      induction_all_rows: the same sum divided by all rows, at most about one half: the "mul" score of
              TransformerLens
    Baseline  induction_uniform: 1 / |S_i| for each such row; induction_shuffled: the same offset where the second r
              comes in another order, so that position alone is left
    Caveat    The tokens are random and differ from each other: what a head does with text that repeats itself by
              halves is not measured. Of an encoder, which sees the later copy too, rows look back as well as ahead.
    Source    Olsson et al. 2022, "In-context Learning and Induction Heads"
    """
    return 1 - length


TARGETS: dict[str, Callable[[int], int]] = {target.__name__: target for target in (previous, duplicate, induction)}


def questions() -> dict[str, str]:
    """What each score asks of a head."""
    return {name: page.splitlines()[0] for name, page in pages().items()}


def pages() -> dict[str, str]:
    """The reference page of each score."""
    return {name: inspect.getdoc(target) or "" for name, target in TARGETS.items()}


@dataclass
class _Done:
    """Some heads of a layer over all seeds so far: moments [head, own or uniform, score]."""

    moments: Moments
    texts: int = 0
    queries: int = 0


@dataclass
class RepeatedSink:
    """The weights on the three targets, over the rows of the second copy.

    start   tokens before the first copy
    length  tokens of each copy
    """

    start: int
    length: int
    _open: dict[tuple[Kind, int, tuple[int, ...]], dict[tuple[int, ...], Sums]] = field(default_factory=dict)
    _done: dict[tuple[Kind, int, tuple[int, ...]], _Done] = field(default_factory=dict)

    def add(self, rows: Rows) -> None:
        """Sum up one block."""
        part = selected(rows, None)
        assert part is not None
        parts = self._open.setdefault((part.kind, part.layer, part.texts), {})
        parts[part.heads] = add_sums(parts.get(part.heads), self._sums(part))

    def end_layer(self, kind: Kind, layer: int) -> None:
        """Combine the scores of a layer into the mean over seeds."""
        for place in [place for place in self._open if place[:2] == (kind, layer)]:
            heads, total = join_heads(self._open.pop(place).items())
            masses = torch.stack([total["mass"], total["uniform"]], dim=2)
            by_all = masses / total["rows"][:, :, None]
            found = torch.cat([masses / total["targets"][:, :, None], by_all], dim=-1).cpu().numpy()
            done = self._done.setdefault((kind, layer, heads), _Done(Moments(found.shape[1:])))
            done.moments.add(found)
            done.texts += len(found)
            done.queries += int(total["rows"][:, 0].sum())

    def result(self, shuffled: RepeatedSink, seeds: Sequence[int]) -> Repeated:
        """The scores of all that went by, beside those of inputs whose second copy is shuffled."""
        return Repeated(
            heads=self._table("mean", 0),
            baselines={BASELINE: self._table("mean", 1), "shuffled": shuffled._table("mean", 0)},
            length=self.length,
            seeds=tuple(seeds),
            std=self._table("std", 0) if len(seeds) > 1 else {},
        )

    def _sums(self, rows: Rows) -> Sums:
        """mass, uniform, targets [batch, head, score], rows [batch, head, 1]: over the rows of the second copy; all."""
        at = rows.query_positions
        offsets = at.new_tensor([target(self.length) for target in TARGETS.values()])
        weights, exists = rows.weights_at(at[..., None] + offsets)
        second = (at >= self.start + self.length) & (at < self.start + 2 * self.length)
        counts = (exists & (rows.real & second[:, None])[..., None]).expand(weights.shape).double()
        even = counts / rows.visible_count.clamp_min(1)[..., None]
        every = rows.real.sum(-1, keepdim=True).double().expand(-1, weights.shape[1], -1)
        return {
            "mass": (weights.double() * counts).sum(2),
            "uniform": even.sum(2),
            "targets": counts.sum(2),
            "rows": every,
        }

    def _table(self, what: str, which: int) -> dict[str, Scores]:
        """One entry per head, ordered by kind, layer and head."""
        rows = []
        for (kind, layer, heads), done in self._done.items():
            moments: Array = getattr(done.moments, what)
            rows += [((KINDS.index(kind), layer, head), done, moments[at, which]) for at, head in enumerate(heads)]
        rows.sort(key=lambda row: row[0])
        coords = {
            "kind": ("head", np.array([KINDS[where[0]] for where, _, _ in rows] + [None], dtype=object)[:-1]),
            "layer": ("head", np.array([where[1] for where, _, _ in rows], dtype=np.int64)),
            "head": ("head", np.array([where[2] for where, _, _ in rows], dtype=np.int64)),
            "texts": ("head", np.array([done.texts for _, done, _ in rows], dtype=np.int64)),
            "queries": ("head", np.array([done.queries for _, done, _ in rows], dtype=np.int64)),
        }
        names = [*SCORES, *(name + ALL_ROWS for name in SCORES)]
        values = np.array([value for _, _, value in rows]).reshape(len(rows), len(names))
        return {
            name: Scores(name, values[:, at], ("head",), coords, "1", (0.0, 1.0), SOURCE)
            for at, name in enumerate(names)
        }
