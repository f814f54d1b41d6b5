"""How differently heads attend: the Jensen-Shannon distance between their rows, head by head, while they stream."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch

from attncli.data import Array, Kind, Rows, Selection
from attncli.data.part_states import PartState
from attncli.stream.divergence import LEAST, HalfRows
from attncli.stream.protocol import selected
from attncli.stream.sums import Moments, absorb_moments

Tensor = torch.Tensor
WHOLE_TEXT, SAMPLED_ROWS = 1024, 256
"""Texts of at most `WHOLE_TEXT` rows are compared whole, longer ones by `SAMPLED_ROWS` evenly spread rows."""
TextsKey = tuple[tuple[int, ...], int]
"""The texts of a batch, and the index of the one text of a piece (0 if it has all)."""


class HeadDistances:
    """The distances between all heads of a layer: sqrt(JS), JS the mean over the rows of a text, then the text mean.

    heads     the heads to compare, by kind and layer; the stream must have all their rows
    max_rows  most rows of a text of which all are compared; of longer texts at most `sampled` evenly spaced rows are,
              so that the cost grows linearly. The distances of 512 rows of all-MiniLM-L6-v2 and of demo:decoder
              have a standard deviation of 0.07 and 0.11 from row to row, which is 0.004 and 0.007 for 256 rows

    Rows that sum to less than 1 are rescaled to 1. Rows are kept until those of all other heads came. Heads follow each
    other block by block, so this is one strip of rows of one layer: at most 256 x keys x heads float32 numbers.
    """

    def __init__(self, heads: Selection, max_rows: int = WHOLE_TEXT, sampled: int = SAMPLED_ROWS) -> None:
        self._heads, self._most = heads, (max_rows, sampled)
        self._open: dict[tuple[Kind, int], dict[TextsKey, _Pairs]] = {}
        self._moments: dict[tuple[Kind, int], Moments] = {}

    def add(self, rows: Rows) -> None:
        """Compare the rows of one block with each other and with the rows that wait for them."""
        part = selected(rows, self._heads)
        if part is None:
            return
        numbers = self._heads[part.kind, part.layer]
        pairs = self._open.setdefault((part.kind, part.layer), {})
        for piece, key in sampled_pieces(part, numbers, *self._most):
            if key not in pairs:
                pairs[key] = _Pairs(piece, len(numbers), max(part.query_lengths))
            pairs[key].add(piece)

    def end_layer(self, kind: Kind, layer: int) -> None:
        count = len(self._heads.get((kind, layer), ()))
        for pairs in self._open.pop((kind, layer), {}).values():
            moments = self._moments.setdefault((kind, layer), Moments((count, count)))
            moments.add((pairs.sums / pairs.rows).clamp_min(0).sqrt().cpu().numpy())

    def state(self) -> PartState:
        """Return the moments over texts."""
        return {"layers": [{"layer": list(key), "values": moments.state()} for key, moments in self._moments.items()]}

    def absorb(self, state: PartState) -> None:
        """Add the texts of a state of another sink for the same heads."""
        for entry in state["layers"]:
            kind, layer = entry["layer"]
            absorb_moments(self._moments, (kind, layer), entry["values"])

    def result(self) -> Mapping[tuple[Kind, int], Array]:
        """Return [head, head] for each kind and layer: the mean over texts, NaN for heads without a common row."""
        distances = {key: moments.mean for key, moments in self._moments.items()}
        for matrix in distances.values():
            np.fill_diagonal(matrix, 0)
        return distances


def differentiation(distances: Array) -> float:
    """Do the heads of a layer do different things?

    Formula   mean over all pairs of heads of their distance sqrt(JS)
    Axes      distances [head, head] → one number for the layer
    Unit      √nat, from 0 (all heads equal) to √(ln 2) = 0.833
    Undefined where a layer has a single head
    Source    the distance is that of Clark et al. 2019, averaged over rows instead of summed
    """
    pairs = distances[np.triu_indices(len(distances), 1)]
    defined = pairs[~np.isnan(pairs)]
    return float(defined.mean()) if len(defined) else float("nan")


@dataclass(frozen=True, eq=False)
class SampledRows:
    """Some rows of some heads, of one text or of several texts with the same rows and keys.

    heads      index of each head among the heads to compare
    positions  [row] positions of the rows in their text
    keys       [key] positions of the keys
    weights    [text, head, row, key] weights, divided by any number that is the same in a row
    sizes      [text, 1, row] float64, the number of visible keys; that of all keys if it differs from head to head
    real       [text, 1 or head, row] bool: rows that count
    """

    heads: list[int]
    positions: Array
    keys: Array
    weights: Tensor
    sizes: Tensor
    real: Tensor

    def on_keys(self, keys: Array) -> Tensor:
        """Return the weights on all of `keys`, 0 on the keys that it lacks."""
        return _widened(self.weights, self.keys, keys, 0.0)


class _Pairs:
    """The sums of all pairs of heads of some texts: [text, head, head] Σ JS over common rows, and their number."""

    def __init__(self, first: SampledRows, heads: int, length: int) -> None:
        self.sums = first.sizes.new_zeros((len(first.weights), heads, heads))
        self.rows = self.sums.clone()
        self._is_short = length <= WHOLE_TEXT
        self._heads_at = np.zeros(length, np.int64)  # number of heads whose row at this position came
        self.waiting: list[tuple[SampledRows, HalfRows]] = []  # pieces with rows that some heads still lack

    def add(self, piece: SampledRows) -> None:
        """Compare the heads of a piece with each other and with the heads of waiting pieces."""
        halves = HalfRows.of(piece.weights.double() if self._is_short else piece.weights, piece.sizes, piece.real)
        self._add_sums(piece.heads, piece.heads, *halves.among())
        for other, other_halves in self.waiting:
            _, rows, other_rows = np.intersect1d(piece.positions, other.positions, return_indices=True)
            if len(rows):
                keys = np.union1d(piece.keys, other.keys)
                parts = _part(piece, halves, rows, keys), _part(other, other_halves, other_rows, keys)
                sums = parts[0].with_others(parts[1])
                self._add_sums(piece.heads, other.heads, *sums)
                self._add_sums(other.heads, piece.heads, *(values.transpose(1, 2) for values in sums))
        self._heads_at[piece.positions] += len(piece.heads)
        missing = self._heads_at < self.sums.shape[1]
        waiting = [*self.waiting, (piece, halves)]
        self.waiting = [(other, of_other) for other, of_other in waiting if missing[other.positions].any()]

    def _add_sums(self, heads: list[int], others: list[int], sums: Tensor, rows: Tensor) -> None:
        """Add the sums of each pair of one of `heads` and one of `others`, and the numbers of their common rows."""
        index = torch.tensor(heads, device=sums.device)[:, None], torch.tensor(others, device=sums.device)
        self.sums[:, index[0], index[1]] += sums
        self.rows[:, index[0], index[1]] += rows


def _part(piece: SampledRows, halves: HalfRows, rows: Array, keys: Array) -> HalfRows:
    """Return some of the rows of a piece over all of `keys`."""
    if len(rows) < len(piece.positions):
        index = torch.from_numpy(rows).to(halves.halves.device)
        halves = HalfRows(*(values.index_select(2, index) for values in (halves.halves, halves.sizes, halves.defined)))
    return replace(halves, halves=_widened(halves.halves, piece.keys, keys, LEAST))


def _widened(values: Tensor, keys: Array, wanted: Array, missing: float) -> Tensor:
    """Return values [text, head, row, key] of some keys on all that are wanted; `missing` on the others."""
    if len(keys) == len(wanted):
        return values
    wider = values.new_full((*values.shape[:3], len(wanted)), missing)
    wider[..., torch.from_numpy(np.searchsorted(wanted, keys)).to(values.device)] = values
    return wider


def sampled_pieces(
    rows: Rows, numbers: tuple[int, ...], max_rows: int, sampled: int
) -> Iterator[tuple[SampledRows, TextsKey]]:
    """Yield the rows of a block that are compared: of all texts at once if they have the same positions.

    These are all rows of a text of up to `max_rows`, and at most `sampled` evenly spaced rows of a longer one.
    """
    heads = [numbers.index(head) for head in rows.heads]
    counts = rows.visible_count[:, :1].clamp_min(1)
    if rows.visible_count.shape[1] > 1:
        counts = torch.full_like(counts, max(rows.key_lengths))
    slices = rows.visibility.slices
    if slices is not None:
        length = max(rows.query_lengths)
        step = 1 if length <= max_rows else -(-length // sampled)
        positions, keys = (np.arange(part.start, part.stop) for part in slices)
        chosen = slice(-slices[0].start % step, None, step)
        if len(positions[chosen]):
            values = rows.raw[:, :, chosen], counts[..., chosen], rows.real[..., chosen]
            yield SampledRows(heads, positions[chosen], keys, *values), (rows.texts, 0)
        return
    for entry, length in enumerate(rows.query_lengths):
        positions, keys = (side[entry].cpu().numpy() for side in (rows.query_positions, rows.key_positions))
        step = 1 if length <= max_rows else -(-length // sampled)
        row_indices = np.flatnonzero((positions >= 0) & (positions % step == 0))
        if len(row_indices):
            key_indices = np.flatnonzero(keys >= 0)
            row, key = (torch.from_numpy(index).to(rows.raw.device) for index in (row_indices, key_indices))
            weights, places = rows.raw[entry, None][:, :, row][..., key], (positions[row_indices], keys[key_indices])
            sizes, real = counts[entry, None][..., row], rows.real[entry, None][..., row]
            yield SampledRows(heads, *places, weights, sizes, real), (rows.texts, entry)
