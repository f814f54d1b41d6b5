"""The strongest weights of each row for the page: tables of a few bytes per edge, filled while edges arrive."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from attncli.data import Array, Edges, Kind, LayerMaps, Selection
from attncli.data.zoom import Combining
from attncli.page.blobs import encode_shares, encode_weights

COMBINED: tuple[Combining, ...] = ("mean", "max")
"""How a page with pooled maps combines the heads of a layer."""
ROWS = 256
"""Rows of a kept map that are sorted at a time."""
_LARGEST_UINT32 = (1 << 32) - 1
LayerId = tuple[int, Kind, int | str, str]
"""Text, kind, layer, and how its heads are combined: none, mean or max."""


@dataclass(frozen=True, eq=False)
class EdgeTable:
    """The strongest weights of one layer, largest first.

    scale  [head, query] the largest weight of the row, NaN where the row is undefined
    keys   [head, query, edge] uint16 where that is enough, else uint32
    codes  [head, query, edge] as in `encode_weights`; 0 is no edge
    """

    scale: Array
    keys: Array
    codes: Array

    @classmethod
    def empty(cls, heads: int, queries: int, keys: int, per_row: int) -> EdgeTable:
        """Return a table without edges, in which every row is undefined."""
        shape = heads, queries, per_row
        scale = np.full(shape[:2], np.nan, np.float32)
        key_type = np.uint16 if keys <= 1 << 16 else np.uint32
        return cls(scale, np.zeros(shape, key_type), np.zeros(shape, np.uint8))

    @classmethod
    def of_maps(cls, maps: LayerMaps, per_row: int) -> EdgeTable:
        """Return the table of kept maps; of equal weights the first key comes first."""
        heads, queries, keys = maps.weights.shape
        table = cls.empty(heads, queries, keys, min(per_row, keys))
        for head, weights in enumerate(maps.weights):
            for first in range(0, queries, ROWS):
                rows = slice(first, first + ROWS)
                strongest = _strongest_keys(weights[rows], table.keys.shape[2])
                table.keys[head, rows] = strongest
                scale, codes = encode_weights(np.take_along_axis(weights[rows], strongest, axis=1)[None])
                table.scale[head, rows], table.codes[head, rows] = scale[0], codes[0]
        return table

    @property
    def per_row(self) -> int:
        return int(self.codes.shape[2])


def _strongest_keys(weights: Array, count: int) -> Array:
    """Return [row, count] the keys of the largest weights [row, key], the largest first.

    A row is sorted by one integer per key: the bits of the weight, then the distance of the key from the last.
    """
    ranks = np.nan_to_num(weights).view(np.uint32).astype(np.uint64) << np.uint64(32)
    ranks |= np.uint64(_LARGEST_UINT32) - np.arange(weights.shape[1], dtype=np.uint64)
    strongest = np.sort(np.partition(ranks, ranks.shape[1] - count, axis=1)[:, -count:], axis=1)[:, ::-1]
    keys: Array = (np.uint64(_LARGEST_UINT32) - (strongest & np.uint64(_LARGEST_UINT32))).astype(np.int64)
    return keys


@dataclass(frozen=True, eq=False)
class EdgeTables:
    """The tables of all layers, filled from edges that arrive in chunks.

    heads      the captured heads of each layer
    per_row    largest number of edges per row
    aggregate  how heads are combined: none, mean or max
    """

    heads: Selection
    per_row: int
    aggregate: str = "none"
    tables: dict[LayerId, EdgeTable] = field(default_factory=dict)

    def add(self, edges: Edges) -> None:
        """Add one chunk, which has all edges of each of its rows."""
        if not len(edges):
            return
        starts = edges.row_starts
        rank = np.arange(len(edges)) - np.repeat(starts, np.diff([*starts, len(edges)]))
        layers = np.stack([edges.text, edges.kind, edges.layer])
        ends = [*(np.flatnonzero((np.diff(layers, axis=1) != 0).any(0)) + 1), len(edges)]
        for first, last in zip([0, *ends], ends, strict=False):
            self._add_layer(edges, slice(first, last), rank[first:last])

    def _add_layer(self, edges: Edges, part: slice, rank: Array) -> None:
        """Add the edges of one layer; `rank` is the place of each edge within its row."""
        text, layer = int(edges.text[part.start]), int(edges.layer[part.start])
        kind = edges.kinds[edges.kind[part.start]]
        heads = np.asarray(self.heads[kind, layer])
        layer_id = text, kind, layer, self.aggregate
        if layer_id not in self.tables:
            source = next(source for source in edges.inputs if source.index == text)
            queries, keys = map(len, source.sides(kind))
            self.tables[layer_id] = EdgeTable.empty(len(heads), queries, keys, min(self.per_row, keys))
        table = self.tables[layer_id]
        head, query = np.searchsorted(heads, edges.head[part]), edges.query[part]
        weights = edges.weight[part]
        row_starts = np.flatnonzero(rank == 0)
        table.scale[head[row_starts], query[row_starts]] = weights[row_starts]
        largest = np.repeat(weights[row_starts], np.diff([*row_starts, len(weights)]))
        table.keys[head, query, rank] = edges.key[part]
        table.codes[head, query, rank] = encode_shares(weights, largest)
