"""The sink that keeps the strongest weights of every row, or passes them on while the stream goes on."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from attncli.data import KINDS, Array, Edges, EdgesConsumer, Input, Kind, Rows, Selection, Visibility
from attncli.stream.protocol import selected

LIMIT = 1 << 20
_CELLS = 1 << 20
"""Weights that are ranked at once: ranks need twice the memory of the weights."""
_CHUNKS = 64, 32
"""Keys of a chunk: only the keys in the chunks with the largest weights are ranked, if there are many chunks."""
_PIECE = 1 << 18
"""Ranks in one piece of memory: a small tensor left by each block would leave holes too small to use."""
_LAST_KEY = (1 << 31) - 1
_WEIGHT_UNIT = 1 << 32


@dataclass(frozen=True, eq=False)
class _RankedBlock:
    """The strongest weights of one block: ranks [batch, head, row, n], largest first."""

    kind: int
    layer: int
    heads: tuple[int, ...]
    texts: tuple[int, ...]
    positions: torch.Tensor
    ranks: torch.Tensor

    def at_least(self, smallest: int) -> tuple[Array, Array]:
        """Return the ranks that are not below `smallest`, row by row, and their [text, kind, layer, head, query]."""
        ranks = self.ranks.cpu().numpy()
        texts, heads = np.array(self.texts)[:, None, None], np.array(self.heads)[None, :, None]
        columns = (texts, np.array(self.kind), np.array(self.layer), heads, self.positions.cpu().numpy()[:, None])
        *row, _ = indices = np.nonzero(ranks >= smallest)
        return ranks[indices], np.stack([np.broadcast_to(column, ranks.shape[:3])[tuple(row)] for column in columns])


class StrongestEdges:
    """The `top_k` largest weights of each row on visible keys, or those from `min_weight` up, or what is both.

    `consume` gets them in ordered chunks of one or more layers, so that about `limit` edges are in memory (for a very
    large layer up to eight times that, then a chunk has a part of its rows). Without it all are kept for `result`. Of
    equal weights the first key wins, however the stream is split.

    described  aggregate, aggregate_layers and rows_as of the `Edges`
    """

    def __init__(
        self,
        inputs: Sequence[Input],
        consume: EdgesConsumer | None = None,
        *,
        top_k: int | None = None,
        min_weight: float | None = None,
        heads: Selection | None = None,
        limit: int = LIMIT,
        described: Mapping[str, Any] | None = None,
    ) -> None:
        self._inputs, self._consume, self._heads, self._described = tuple(inputs), consume, heads, described or {}
        self._limit, self._top_k = limit, top_k
        # in the precision of the weights: 0.7 in float32 is less than 0.7
        self._min_weight = np.float32(0 if min_weight is None else min_weight)
        self._kinds = {kind: number for number, kind in enumerate(KINDS)}
        self._count = 0
        self._blocks: list[_RankedBlock] = []
        self._free = torch.empty(0, dtype=torch.int64)

    def add(self, rows: Rows) -> None:
        """Copy the strongest weights of one block; they stay on the device until there are enough for a chunk."""
        part = selected(rows, self._heads)
        if part is None:
            return
        if self._top_k is not None:
            needed = min(self._top_k, part.raw.shape[3])
        else:
            needed = int(((part.weights >= float(self._min_weight)) & part.visible_pairs).sum(-1).amax())
        ranks = self._copied(_strongest(part, needed))
        kind = self._kinds.setdefault(part.kind, len(self._kinds))
        self._blocks.append(_RankedBlock(kind, part.layer, part.heads, part.texts, part.query_positions, ranks))
        self._count += ranks.numel()
        self._pass_on(8)

    def end_layer(self, kind: Kind, layer: int) -> None:
        """Pass on a chunk if there are enough edges."""
        self._pass_on(1)

    def result(self) -> Edges | None:
        """Return all edges, or pass on the last chunk and return None if `consume` got the others."""
        if self._consume is None:
            return self._flush()
        if self._blocks:
            self._consume(self._flush())
        return None

    def _copied(self, ranks: torch.Tensor) -> torch.Tensor:
        """Return the ranks in the current piece of memory, or in a new one if it is full."""
        size = ranks.numel()
        if size > len(self._free):
            self._free = ranks.new_empty(max(size, _PIECE))
        copy, self._free = self._free[:size], self._free[size:]
        return copy.view(ranks.shape).copy_(ranks)

    def _pass_on(self, times_limit: int) -> None:
        if self._consume is not None and self._count > times_limit * self._limit:
            self._consume(self._flush())

    def _flush(self) -> Edges:
        """Return the collected edges in order and forget them."""
        if not self._blocks:
            return Edges.empty(self._inputs, **self._described)
        smallest = int(self._min_weight.view(np.int32)) * _WEIGHT_UNIT
        block_ranks, block_columns = zip(*(block.at_least(smallest) for block in self._blocks), strict=True)
        self._blocks, self._count = [], 0
        ranks, columns = np.concatenate(block_ranks), np.concatenate(block_columns, axis=1)
        order = _row_order(columns)
        ranks = ranks[order]
        weight = (ranks // _WEIGHT_UNIT).astype(np.int32).view(np.float32)
        text, kind, layer, head, query = columns[:, order]
        columns_of_edges = (text, kind, layer, head, query, _LAST_KEY - ranks % _WEIGHT_UNIT, weight)
        return Edges(self._inputs, *columns_of_edges, (*self._kinds,), **self._described)


def _row_order(columns: Array) -> Array:
    """Return the order of edges by the rows of columns, the first one first; those of one row stay in order."""
    sizes = [int(column.max(initial=0)) + 1 for column in columns]
    if math.prod(sizes) >= np.iinfo(np.int64).max:
        return np.lexsort(columns[::-1])
    number = np.zeros(columns.shape[1], np.int64)
    for column, size in zip(columns, sizes, strict=True):
        number *= size
        number += column
    return np.argsort(number, kind="stable")  # fast, as blocks are in order


def _strongest(rows: Rows, count: int) -> torch.Tensor:
    """Return the largest ranks of each row, [batch, head, row, count], negative for masked keys.

    The high bits of a rank are the bits of the weight, the low bits order keys: ranks order like weights, and equal
    weights by key, first key first.
    """
    heads, queries, keys = rows.raw.shape[1:]
    chunk = next((size for size in _CHUNKS if keys >= 4 * count * size), 0)
    ranked = (count + 1) * chunk if chunk else keys
    step = max(1, _CELLS // max(1, len(rows.raw) * queries * ranked))
    strongest = []
    for first in range(0, heads, step):
        part = slice(first, first + step)
        ranks = _ranks_of_chosen(rows, part, count, chunk) if chunk else _ranks_of_all(rows, part)
        strongest.append(ranks.topk(count).values)
    return torch.cat(strongest, dim=1)


def _ranks_of_all(rows: Rows, heads: slice) -> torch.Tensor:
    """Return the ranks of all keys: [batch, head, row, key]."""
    weights = rows.raw[:, heads] * rows.factor[:, heads, :, None]
    return _ranks(weights, _of_heads(rows.visible_pairs, heads), rows.key_positions[:, None, None])


def _ranks_of_chosen(rows: Rows, heads: slice, count: int, chunk: int) -> torch.Tensor:
    """Return the ranks of a few keys of each row, among which the strongest are: [batch, head, row, n].

    They are those of the `count` chunks with the largest maxima, and the keys after the last full chunk. A key of
    another chunk is behind at least one key in each of these, so that it is not among the strongest.
    """
    raw, factor = rows.raw[:, heads], rows.factor[:, heads, :, None]
    chunks, keys = raw.shape[-1] // chunk, raw.shape[-1]
    largest = raw[..., : chunks * chunk].view(*raw.shape[:3], chunks, chunk).amax(-1) * factor
    number = torch.arange(chunks, device=raw.device)
    ranks = _ranks(largest, _of_heads(_visible_chunks(rows.visibility, chunk), heads), number)
    first = (_LAST_KEY - ranks.topk(count).values % _WEIGHT_UNIT) * chunk
    of_chunks = (first[..., None] + torch.arange(chunk, device=raw.device)).flatten(-2)
    after = torch.arange(chunks * chunk, keys, device=raw.device).expand(*of_chunks.shape[:-1], -1)
    index = torch.cat([of_chunks, after], dim=-1)
    visible = _of_heads(rows.visible_pairs, heads).expand(raw.shape).gather(-1, index)
    positions = index if _counts_keys(rows) else rows.key_positions[:, None, None].expand(raw.shape).gather(-1, index)
    return _ranks(raw.gather(-1, index) * factor, visible, positions)


def _ranks(weights: torch.Tensor, visible: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Return the ranks of weights at ascending positions, negative where they are not visible."""
    bits = torch.where(visible, weights.float(), -1.0).view(torch.int32)
    return torch.add(_LAST_KEY - positions, bits, alpha=_WEIGHT_UNIT)


def _of_heads(values: torch.Tensor, heads: slice) -> torch.Tensor:
    """Return the values of some heads, [batch, 1 or head, ...]; those of one head serve all."""
    return values if values.shape[1] == 1 else values[:, heads]


def _visible_chunks(visibility: Visibility, chunk: int) -> torch.Tensor:
    """Return which full chunks have a visible key: [batch, 1 or head, row, chunk]."""
    key = _visible_chunks, chunk
    if key not in visibility.cache:
        visible = visibility.visible_pairs
        full = visible[..., : visible.shape[-1] // chunk * chunk]
        visibility.cache[key] = full.view(*full.shape[:3], -1, chunk).any(-1)
    found: torch.Tensor = visibility.cache[key]
    return found


def _counts_keys(rows: Rows) -> bool:
    """Return whether the position of each key is its number in the block."""
    slices = rows.visibility.slices
    return slices is not None and slices[1].start == 0
