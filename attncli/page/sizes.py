"""How large a page becomes, foretold from the size of its maps, and how much of it fits into so many bytes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

BASE64 = 4 / 3
MOST_EDGES, LEAST_EDGES = 64, 4
SIDES = (256, 192, 128, 96, 64, 48, 32)
"""Cells a side that a pooled map may have."""
POOLED_SHARE = 1 / 4
"""Of the page at most for pooled maps, where smaller ones leave room for more edges."""
_SCALE, _CODE, _KEY = 4, 1, 2
_VECTOR = 2


@dataclass(frozen=True)
class MapSize:
    """The maps of one text and kind: how many, of how many queries and keys; and of what size their vectors are.

    vectors  values of query vectors of one query over all layers and heads, the same of keys, and how many heads
    """

    maps: int
    queries: int
    keys: int
    vectors: tuple[int, int, int] = (0, 0, 0)

    @property
    def whole(self) -> float:
        """Bytes of every weight."""
        return self._vectors + self.maps * self.queries * (_SCALE + self.keys * _CODE) * BASE64

    def strongest(self, edges: int, side: int) -> float:
        """Bytes of the strongest weights of each row, and of a pooled map; of all, where that is as small."""
        if max(self.queries, self.keys) <= side:
            return self.whole
        key = _KEY if self.keys <= 1 << 16 else 2 * _KEY
        rows, columns = (_cells(count, side) for count in (self.queries, self.keys))
        strong = self.queries * (_SCALE + edges * (key + _CODE))
        return self._vectors + self.maps * (strong + rows * (_SCALE + columns * _CODE)) * BASE64

    def pooled(self, side: int) -> float:
        """Bytes of the pooled map alone, of a map that is small enough all."""
        rows, columns = (_cells(count, side) for count in (self.queries, self.keys))
        return self.maps * rows * (_SCALE + columns * _CODE) * BASE64

    @property
    def _vectors(self) -> float:
        query, key, heads = self.vectors
        each = self.queries * (query * _VECTOR + heads * 2 * _SCALE) + self.keys * key * _VECTOR
        return each * BASE64


@dataclass(frozen=True)
class Fit:
    """What a page holds of maps that are too large: the `edges` strongest weights of each row, maps of `side` cells."""

    edges: int
    side: int


def fit(sizes: Sequence[MapSize], budget: int) -> Fit | None:
    """As much as fits, of edges first where pooled maps are below their share; None where the least does not fit."""
    for side in SIDES:
        last = side == SIDES[-1]
        if not last and sum(size.pooled(side) for size in sizes) > budget * POOLED_SHARE:
            continue
        fitting = [edges for edges in range(LEAST_EDGES, MOST_EDGES + 1) if _total(sizes, edges, side) <= budget]
        if fitting:
            return Fit(max(fitting), side)
    return None


def whole(sizes: Iterable[MapSize]) -> float:
    """Bytes of a page with every weight."""
    return sum(size.whole for size in sizes)


def least(sizes: Iterable[MapSize]) -> float:
    """Bytes of the smallest page."""
    return sum(size.strongest(LEAST_EDGES, SIDES[-1]) for size in sizes)


def _total(sizes: Iterable[MapSize], edges: int, side: int) -> float:
    return sum(size.strongest(edges, side) for size in sizes)


def _cells(count: int, side: int) -> int:
    """Cells of a side with so many tokens."""
    return -(-count // -(-count // side))
