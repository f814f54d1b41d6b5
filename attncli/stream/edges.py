"""The sink that keeps the strongest weights of every row, and hands them on while the stream goes by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from attncli.data import KINDS, Array, Edges, EdgesConsumer, Input, Kind, Rows, Selection
from attncli.stream.protocol import selected

LIMIT = 1 << 20
_CELLS = 1 << 20
_SLAB = 1 << 18
_LAST = (1 << 31) - 1
_HALF = 1 << 32


@dataclass(frozen=True, eq=False)
class _Block:
    """The strongest weights of one block: ranks [batch, head, row, n], largest first."""

    kind: int
    layer: int
    heads: tuple[int, ...]
    texts: tuple[int, ...]
    positions: torch.Tensor
    ranks: torch.Tensor

    def found(self, least: int) -> tuple[Array, Array]:
        """Ranks of at least this much, row by row, and (text, kind, layer, head, query) of each."""
        ranks = self.ranks.cpu().numpy()
        texts, heads = np.array(self.texts)[:, None, None], np.array(self.heads)[None, :, None]
        places = (texts, np.array(self.kind), np.array(self.layer), heads, self.positions.cpu().numpy()[:, None])
        *row, _ = wanted = np.nonzero(ranks >= least)
        return ranks[wanted], np.stack([np.broadcast_to(place, ranks.shape[:3])[tuple(row)] for place in places])


class StrongestEdges:
    """Of each row the `top_k` largest weights on visible keys, those from `min_weight` on, or what is both.

    `take` gets them in ordered chunks of one layer or several, so that about `limit` edges are held at a time (of a
    very large layer up to eight times that, then a part of its rows). Without it all are held, for `result`.
    Of equal weights the first key wins, wherever the stream was cut.
    """

    def __init__(
        self,
        inputs: Sequence[Input],
        take: EdgesConsumer | None = None,
        *,
        top_k: int | None = None,
        min_weight: float | None = None,
        heads: Selection | None = None,
        limit: int = LIMIT,
    ) -> None:
        self._inputs, self._take, self._heads = tuple(inputs), take, heads
        self._limit = limit
        self._top_k = top_k
        # as the weights are: 0.7 in float32 is less than 0.7
        self._least = np.float32(0 if min_weight is None else min_weight)
        self._held = 0
        self._blocks: list[_Block] = []
        self._free = torch.empty(0, dtype=torch.int64)

    def add(self, rows: Rows) -> None:
        """Take the strongest out of one block; they stay where they are until enough have come together."""
        part = selected(rows, self._heads)
        if part is None:
            return
        ranks = self._stored(_strongest(part, self._count(part)))
        kind = KINDS.index(part.kind)
        self._blocks.append(_Block(kind, part.layer, part.heads, part.texts, part.query_positions, ranks))
        self._held += ranks.numel()
        self._hand_on(8)

    def end_layer(self, kind: Kind, layer: int) -> None:
        """Hand on what has come together."""
        self._hand_on(1)

    def result(self) -> Edges | None:
        """All edges, None where they were handed on; the last of those are handed on now."""
        if self._take is None:
            return self._flushed()
        if self._blocks:
            self._take(self._flushed())
        return None

    def _count(self, rows: Rows) -> int:
        """How many weights of a row are needed at most."""
        if self._top_k is not None:
            return min(self._top_k, rows.weights.shape[3])
        return int(((rows.weights >= float(self._least)) & rows.seen).sum(-1).amax())

    def _stored(self, ranks: torch.Tensor) -> torch.Tensor:
        """The same in a large piece of memory: a small one left behind by each block would leave holes too small."""
        size = ranks.numel()
        if size > len(self._free):
            self._free = ranks.new_empty(max(size, _SLAB))
        place, self._free = self._free[:size], self._free[size:]
        return place.view(ranks.shape).copy_(ranks)

    def _hand_on(self, times: int) -> None:
        if self._take is not None and self._held > times * self._limit:
            self._take(self._flushed())

    def _flushed(self) -> Edges:
        """What is held, in order; nothing is held after that."""
        if not self._blocks:
            return Edges.empty(self._inputs)
        least = int(self._least.view(np.int32)) * _HALF
        found, places = zip(*(block.found(least) for block in self._blocks), strict=True)
        self._blocks, self._held = [], 0
        ranks, columns = np.concatenate(found), np.concatenate(places, axis=1)
        # stable: of one row they stand in order already
        order = np.lexsort(columns[::-1])
        ranks = ranks[order]
        weight = (ranks // _HALF).astype(np.int32).view(np.float32)
        text, kind, layer, head, query = columns[:, order]
        return Edges(self._inputs, text, kind, layer, head, query, _LAST - ranks % _HALF, weight)


def _strongest(rows: Rows, count: int) -> torch.Tensor:
    """The largest ranks of each row: [batch, head, row, count].

    The rank of a weight is its bits, and after them how early its key is: ranks order as the weights do, and equal
    weights by key. It is negative where the key is not visible.
    """
    early = _LAST - rows.key_positions[:, None, None, :]
    return torch.cat([_ranks(*part, early).topk(count).values for part in _by_heads(rows)], dim=1)


def _ranks(weights: torch.Tensor, seen: torch.Tensor, early: torch.Tensor) -> torch.Tensor:
    bits = torch.where(seen, weights.float(), -1.0).view(torch.int32)
    return torch.add(early, bits, alpha=_HALF)


def _by_heads(rows: Rows) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Weights and what is seen, of a few heads at a time: ranks take twice the room of the weights."""
    batch, heads, queries, keys = rows.weights.shape
    step = max(1, _CELLS // max(1, batch * queries * keys))
    for first in range(0, heads, step):
        some = slice(first, first + step)
        yield rows.weights[:, some], rows.seen if rows.seen.shape[1] == 1 else rows.seen[:, some]
