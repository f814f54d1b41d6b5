"""The bytes of a page, computed from the size of its maps, and how much of them fits into a number of bytes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

BASE64 = 4 / 3
MOST_EDGES, LEAST_EDGES = 64, 4
SIDES = (256, 192, 128, 96, 64, 48, 32)
"""Cells per side of a pooled map, from the largest to the smallest."""
POOLED_SHARE = 1 / 4
"""Largest share of the page for pooled maps, as long as smaller ones would leave room for more edges."""
_SCALE, _CODE, _KEY = 4, 1, 2
_VECTOR = 2


@dataclass(frozen=True)
class MapSize:
    """The size of the maps of one text and kind: their number, their queries and keys, and their vectors.

    vectors   over all layers and heads: values of the query vectors of one query, values of the key vectors of one key,
              and the number of heads
    combined  maps of combined heads, which the page has beside pooled maps
    """

    maps: int
    queries: int
    keys: int
    vectors: tuple[int, int, int] = (0, 0, 0)
    combined: int = 0

    @property
    def whole(self) -> float:
        """Bytes of every weight."""
        return self._vectors + self.maps * self.queries * (_SCALE + self.keys * _CODE) * BASE64

    def strongest(self, edges: int, side: int) -> float:
        """Return the bytes of the strongest weights of each row and of a pooled map; of every weight in small maps."""
        if max(self.queries, self.keys) <= side:
            return self.whole
        key = _KEY if self.keys <= 1 << 16 else 2 * _KEY
        strong = self.queries * (_SCALE + edges * (key + _CODE))
        return self._vectors + (self.maps + self.combined) * (strong + self._pooled_map(side)) * BASE64

    def pooled(self, side: int) -> float:
        """Return the bytes of the pooled maps alone."""
        return (self.maps + self.combined) * self._pooled_map(side) * BASE64

    def _pooled_map(self, side: int) -> int:
        rows, columns = (-(-count // -(-count // side)) for count in (self.queries, self.keys))
        return rows * (_SCALE + columns * _CODE)

    @property
    def _vectors(self) -> float:
        query, key, heads = self.vectors
        values = self.queries * (query * _VECTOR + heads * 2 * _SCALE) + self.keys * key * _VECTOR
        return values * BASE64


@dataclass(frozen=True)
class PageFit:
    """What fits of maps that are too large: the `edges` strongest weights of each row, maps of `side` cells."""

    edges: int
    side: int


def fit_page(sizes: Sequence[MapSize], budget: int) -> PageFit | None:
    """Return what fits into `budget` bytes: as many edges as possible, then as many cells; None where nothing fits."""
    for side in SIDES:
        if side != SIDES[-1] and sum(size.pooled(side) for size in sizes) > budget * POOLED_SHARE:
            continue
        for edges in range(MOST_EDGES, LEAST_EDGES - 1, -1):
            if sum(size.strongest(edges, side) for size in sizes) <= budget:
                return PageFit(edges, side)
    return None


def full_page_bytes(sizes: Iterable[MapSize]) -> float:
    """Return the bytes of a page with every weight."""
    return sum(size.whole for size in sizes)


def smallest_page_bytes(sizes: Iterable[MapSize]) -> float:
    """Return the bytes of the smallest page."""
    return sum(size.strongest(LEAST_EDGES, SIDES[-1]) for size in sizes)
