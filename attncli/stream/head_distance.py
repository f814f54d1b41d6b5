"""How differently heads look: the Jensen-Shannon distance between their rows, pair by pair, while they stream by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from attncli.data import Array, Kind, Rows, Selection
from attncli.stream import selected
from attncli.stream.moments import Moments

Tensor = torch.Tensor
MOST_ROWS = 1024
Texts = tuple[int, ...]


def divergence(one: Tensor, other: Tensor, one_sum: Tensor, other_sum: Tensor) -> Tensor:
    """How far apart are two rows of weights, as distributions over keys?

    Formula   JS = ½ [KL(p‖m) + KL(q‖m)], m = (p + q) / 2, as ½ Σ p ln p + ½ Σ q ln q - Σ m ln m
    Axes      weights [..., row, key] that sum to 1, and their Σ p ln p [..., row] → [..., row]
    Unit      nat, from 0 (equal) to ln 2 = 0.693 (no key in common)
    Source    Lin 1991, "Divergence measures based on the Shannon entropy"; Clark et al. 2019 for heads
    """
    middle = (one + other) / 2
    return ((one_sum + other_sum) / 2 - torch.xlogy(middle, middle).sum(-1)).clamp_min(0)


class HeadDistances:
    """The distance between all heads of a layer: sqrt(JS), JS the mean over the rows of a text; over texts the mean.

    heads  the heads that are compared, by kind and layer; all their rows will come
    most   of longer texts at most so many rows are compared, evenly spread, so that the cost grows with the length

    Rows that sum to less than 1 are rescaled to 1. The rows of some heads are held until those of all others came:
    as heads follow each other block by block, that is one strip of rows of one layer, at most `most` x keys x heads
    numbers of 8 bytes.
    """

    def __init__(self, heads: Selection, most: int = MOST_ROWS) -> None:
        self._heads, self._most = heads, most
        self._open: dict[tuple[Kind, int], dict[tuple[Texts, int], _Pairs]] = {}
        self._done: dict[tuple[Kind, int], Moments] = {}

    def add(self, rows: Rows) -> None:
        """Compare the rows of one block with each other and with those that wait for them."""
        part = selected(rows, self._heads)
        if part is None:
            return
        numbers = self._heads[part.kind, part.layer]
        opened = self._open.setdefault((part.kind, part.layer), {})
        for piece, place in _pieces(part, numbers, self._most):
            if place not in opened:
                opened[place] = _Pairs.blank(piece, len(numbers), max(part.query_lengths))
            opened[place].take(piece)

    def end_layer(self, kind: Kind, layer: int) -> None:
        """Combine the distances of a layer into the mean over texts."""
        count = len(self._heads.get((kind, layer), ()))
        for pairs in self._open.pop((kind, layer), {}).values():
            done = self._done.setdefault((kind, layer), Moments((count, count)))
            done.add((pairs.sums / pairs.rows).sqrt().cpu().numpy())

    def result(self) -> Mapping[tuple[Kind, int], Array]:
        """[head, head] of each kind and layer, the mean over texts, 0 on the diagonal; NaN where no row is common."""
        return {place: _closed(moments.mean) for place, moments in self._done.items()}


def differentiation(distances: Array) -> float:
    """Do the heads of a layer do different things?

    Formula   mean over all pairs of heads of their distance sqrt(JS)
    Axes      distances [head, head] → one number for the layer
    Unit      sqrt(nat), from 0 (all heads alike) to sqrt(ln 2) = 0.833
    Undefined where a layer has a single head
    Source    the distance is that of Clark et al. 2019, averaged over rows instead of summed
    """
    above = distances[np.triu_indices(len(distances), 1)]
    known = above[~np.isnan(above)]
    return float(known.mean()) if len(known) else float("nan")


@dataclass(frozen=True, eq=False)
class _Piece:
    """Some rows of some heads of one text, or of texts with the same rows and keys.

    places     of its heads among all heads that are compared
    positions  [row] and keys [key]: where they stand in the text
    weights    [text, head, row, key] float64 that sum to 1; logs: Σ p ln p, [text, head, row]
    real       [text, head, row] rows that count, as numbers
    """

    places: list[int]
    positions: Array
    keys: Array
    weights: Tensor
    logs: Tensor
    real: Tensor

    @classmethod
    def of(cls, places: list[int], positions: Array, keys: Array, weights: Tensor, real: Tensor) -> _Piece:
        weights = weights.double()
        total = weights.sum(-1)
        real = (real & (total > 0)).expand(total.shape)
        weights = torch.where(real[..., None], weights / total[..., None], 0.0)
        return cls(places, positions, keys, weights, torch.xlogy(weights, weights).sum(-1), real.double())

    def part(self, rows: Array, keys: Array) -> _Piece:
        """Some of its rows, with all these keys: those that it lacks are 0."""
        at = torch.from_numpy(rows).to(self.weights.device)
        weights = self.weights[:, :, at]
        if len(keys) != len(self.keys):
            wider = weights.new_zeros((*weights.shape[:3], len(keys)))
            wider[..., torch.from_numpy(np.searchsorted(keys, self.keys)).to(at.device)] = weights
            weights = wider
        positions = self.positions[rows]
        return _Piece(self.places, positions, keys, weights, self.logs[:, :, at], self.real[:, :, at])


@dataclass(eq=False)
class _Pairs:
    """All pairs of heads of some texts so far.

    sums, rows  [text, head, head]: Σ JS over common rows, and how many these are
    came        [position] how many heads have brought that row
    waiting     rows that still wait for other heads
    """

    sums: Tensor
    rows: Tensor
    came: Array
    waiting: list[_Piece] = field(default_factory=list)

    @classmethod
    def blank(cls, like: _Piece, heads: int, length: int) -> _Pairs:
        zeros = like.weights.new_zeros((len(like.weights), heads, heads))
        return cls(zeros, zeros.clone(), np.zeros(length, np.int64))

    def take(self, piece: _Piece) -> None:
        """Compare a piece with itself and with what waits for it."""
        for at in range(len(piece.places) - 1):
            self._compare(piece, piece, at, slice(at + 1, None))
        for other in self.waiting:
            _, mine, theirs = np.intersect1d(piece.positions, other.positions, return_indices=True)
            if len(mine):
                keys = np.union1d(piece.keys, other.keys)
                one, two = piece.part(mine, keys), other.part(theirs, keys)
                for at in range(len(one.places)):
                    self._compare(one, two, at, slice(None))
        self.came[piece.positions] += len(piece.places)
        heads = self.sums.shape[1]
        self.waiting = [each for each in (*self.waiting, piece) if (self.came[each.positions] < heads).any()]

    def _compare(self, one: _Piece, other: _Piece, at: int, others: slice) -> None:
        """The head at this place of one with some heads of the other."""
        common = one.real[:, at, None] * other.real[:, others]
        found = divergence(
            one.weights[:, at, None], other.weights[:, others], one.logs[:, at, None], other.logs[:, others]
        )
        head, rest = one.places[at], other.places[others]
        for total, value in ((self.sums, found * common), (self.rows, common)):
            each = value.sum(-1)
            total[:, head, rest] += each
            total[:, rest, head] += each


def _pieces(rows: Rows, numbers: tuple[int, ...], most: int) -> Iterator[tuple[_Piece, tuple[Texts, int]]]:
    """The rows of a block that are compared: of all texts at once where they stand at the same places."""
    places = [numbers.index(head) for head in rows.heads]
    runs = rows.visibility.runs
    if runs is not None:
        step = -(-max(rows.query_lengths) // most)
        positions, keys = (np.arange(run.start, run.stop) for run in runs)
        chosen = slice(-runs[0].start % step, None, step)
        if len(positions[chosen]):
            weights, real = rows.weights[:, :, chosen], rows.real[..., chosen]
            yield _Piece.of(places, positions[chosen], keys, weights, real), (rows.texts, 0)
        return
    for entry, length in enumerate(rows.query_lengths):
        positions, keys = (side[entry].cpu().numpy() for side in (rows.query_positions, rows.key_positions))
        here = np.flatnonzero((positions >= 0) & (positions % -(-length // most) == 0))
        if len(here):
            there = np.flatnonzero(keys >= 0)
            at, on = (torch.from_numpy(each).to(rows.weights.device) for each in (here, there))
            weights, real = rows.weights[entry, None][:, :, at][..., on], rows.real[entry, None][..., at]
            yield _Piece.of(places, positions[here], keys[there], weights, real), (rows.texts, entry)


def _closed(mean: Array) -> Array:
    """With 0 between each head and itself."""
    closed = mean.copy()
    np.fill_diagonal(closed, 0)
    return closed
