"""How differently heads attend: the Jensen-Shannon distance between their rows, head by head, while they stream."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from attncli.data import Array, Kind, Rows, Selection
from attncli.data.part_states import PartState
from attncli.stream.protocol import selected
from attncli.stream.sums import Moments, absorb_moments

Tensor = torch.Tensor
MAX_ROWS = 1024
TextsKey = tuple[tuple[int, ...], int]
"""The texts of a batch, and the index of the one text of a piece (0 if it has all)."""


def divergence(weights: Tensor, other: Tensor, log_sum: Tensor, other_log_sum: Tensor) -> Tensor:
    """How far apart are two rows of weights, as distributions over keys?

    Formula   JS = ½ [KL(p‖m) + KL(q‖m)], m = (p + q) / 2, as ½ Σ p ln p + ½ Σ q ln q - Σ m ln m
    Axes      weights [..., row, key] that sum to 1, and their Σ p ln p [..., row] → [..., row]
    Unit      nat, from 0 (equal) to ln 2 = 0.693 (no key in common)
    Source    Lin 1991, "Divergence measures based on the Shannon entropy"; Clark et al. 2019 for heads
    """
    middle = (weights + other) / 2
    return ((log_sum + other_log_sum) / 2 - torch.xlogy(middle, middle).sum(-1)).clamp_min(0)


def divergence_from_mean(weights: Tensor, log_sum: Tensor, real: Tensor) -> Tensor:
    """Return how far rows are from their mean row, as `attncli explain rows_to_mean` defines it: [...], in nat.

    weights  [..., row, key], each row sums to 1
    log_sum  [..., row] Σ p ln p
    real     [..., row] 1 for rows that count, else 0; NaN if none counts
    """
    count = real.sum(-1)
    mean = (weights * real[..., None]).sum(-2, keepdim=True) / count[..., None, None]
    divergences = divergence(weights, mean, log_sum, torch.xlogy(mean, mean).sum(-1))
    return (divergences * real).sum(-1) / count


class HeadDistances:
    """The distances between all heads of a layer: sqrt(JS), JS the mean over the rows of a text, then the text mean.

    heads     the heads to compare, by kind and layer; the stream must have all their rows
    max_rows  of longer texts at most this many evenly spaced rows are compared, so that the cost grows linearly

    Rows that sum to less than 1 are rescaled to 1. Rows are kept until those of all other heads came. Heads follow each
    other block by block, so this is one strip of rows of one layer: at most `max_rows` x keys x heads float64 numbers.
    """

    def __init__(self, heads: Selection, max_rows: int = MAX_ROWS) -> None:
        self._heads, self._max_rows = heads, max_rows
        self._open: dict[tuple[Kind, int], dict[TextsKey, _Pairs]] = {}
        self._moments: dict[tuple[Kind, int], Moments] = {}

    def add(self, rows: Rows) -> None:
        """Compare the rows of one block with each other and with the rows that wait for them."""
        part = selected(rows, self._heads)
        if part is None:
            return
        numbers = self._heads[part.kind, part.layer]
        pairs = self._open.setdefault((part.kind, part.layer), {})
        for piece, key in sampled_pieces(part, numbers, self._max_rows):
            if key not in pairs:
                pairs[key] = _Pairs(piece, len(numbers), max(part.query_lengths))
            pairs[key].add(piece)

    def end_layer(self, kind: Kind, layer: int) -> None:
        count = len(self._heads.get((kind, layer), ()))
        for pairs in self._open.pop((kind, layer), {}).values():
            moments = self._moments.setdefault((kind, layer), Moments((count, count)))
            moments.add((pairs.sums / pairs.rows).sqrt().cpu().numpy())

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
    weights    [text, head, row, key] float64, each row sums to 1
    log_sums   [text, head, row] Σ p ln p
    real       [text, head, row] 1 for rows that count, else 0
    """

    heads: list[int]
    positions: Array
    keys: Array
    weights: Tensor
    log_sums: Tensor
    real: Tensor

    @classmethod
    def of(cls, heads: list[int], positions: Array, keys: Array, weights: Tensor, real: Tensor) -> SampledRows:
        weights = weights.double()
        total = weights.sum(-1)
        real = (real & (total > 0)).expand(total.shape)
        weights = torch.where(real[..., None], weights / total[..., None], 0.0)
        return cls(heads, positions, keys, weights, torch.xlogy(weights, weights).sum(-1), real.double())

    def part(self, rows: Array, keys: Array) -> SampledRows:
        """Return some of its rows over all of `keys`, with weight 0 on the keys that it lacks."""
        index = torch.from_numpy(rows).to(self.weights.device)
        weights = self.weights[:, :, index]
        if len(keys) != len(self.keys):
            wider = weights.new_zeros((*weights.shape[:3], len(keys)))
            wider[..., torch.from_numpy(np.searchsorted(keys, self.keys)).to(index.device)] = weights
            weights = wider
        log_sums, real = self.log_sums[:, :, index], self.real[:, :, index]
        return SampledRows(self.heads, self.positions[rows], keys, weights, log_sums, real)


class _Pairs:
    """The sums of all pairs of heads of some texts: [text, head, head] Σ JS over common rows, and their number."""

    def __init__(self, first: SampledRows, heads: int, length: int) -> None:
        self.sums = first.weights.new_zeros((len(first.weights), heads, heads))
        self.rows = self.sums.clone()
        self._heads_at = np.zeros(length, np.int64)  # number of heads whose row at this position came
        self.waiting: list[SampledRows] = []  # pieces with rows that some heads still lack

    def add(self, piece: SampledRows) -> None:
        """Compare the heads of a piece with each other and with the heads of waiting pieces."""
        for head in range(len(piece.heads) - 1):
            self._compare(piece, piece, head, slice(head + 1, None))
        for other in self.waiting:
            _, rows, other_rows = np.intersect1d(piece.positions, other.positions, return_indices=True)
            if len(rows):
                keys = np.union1d(piece.keys, other.keys)
                part, other_part = piece.part(rows, keys), other.part(other_rows, keys)
                for head in range(len(part.heads)):
                    self._compare(part, other_part, head, slice(None))
        self._heads_at[piece.positions] += len(piece.heads)
        missing = self._heads_at < self.sums.shape[1]
        self.waiting = [waiting for waiting in (*self.waiting, piece) if missing[waiting.positions].any()]

    def _compare(self, piece: SampledRows, other: SampledRows, head: int, others: slice) -> None:
        """Add the divergences of one head of a piece from some heads of another piece."""
        weights, log_sums, real = (part[:, head, None] for part in (piece.weights, piece.log_sums, piece.real))
        common = real * other.real[:, others]
        values = divergence(weights, other.weights[:, others], log_sums, other.log_sums[:, others])
        first, second = piece.heads[head], other.heads[others]
        for total, terms in ((self.sums, values * common), (self.rows, common)):
            row_sum = terms.sum(-1)
            total[:, first, second] += row_sum
            total[:, second, first] += row_sum


def sampled_pieces(rows: Rows, numbers: tuple[int, ...], max_rows: int) -> Iterator[tuple[SampledRows, TextsKey]]:
    """Yield the rows of a block that are compared: of all texts at once if they have the same positions."""
    heads = [numbers.index(head) for head in rows.heads]
    slices = rows.visibility.slices
    if slices is not None:
        step = -(-max(rows.query_lengths) // max_rows)
        positions, keys = (np.arange(part.start, part.stop) for part in slices)
        chosen = slice(-slices[0].start % step, None, step)
        if len(positions[chosen]):
            weights, real = rows.weights[:, :, chosen], rows.real[..., chosen]
            yield SampledRows.of(heads, positions[chosen], keys, weights, real), (rows.texts, 0)
        return
    for entry, length in enumerate(rows.query_lengths):
        positions, keys = (side[entry].cpu().numpy() for side in (rows.query_positions, rows.key_positions))
        row_indices = np.flatnonzero((positions >= 0) & (positions % -(-length // max_rows) == 0))
        if len(row_indices):
            key_indices = np.flatnonzero(keys >= 0)
            row, key = (torch.from_numpy(index).to(rows.weights.device) for index in (row_indices, key_indices))
            weights, real = rows.weights[entry, None][:, :, row][..., key], rows.real[entry, None][..., row]
            yield SampledRows.of(heads, positions[row_indices], keys[key_indices], weights, real), (rows.texts, entry)
