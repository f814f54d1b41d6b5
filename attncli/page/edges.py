"""The strongest weights of each row for the page: laid into tables of a few bytes an edge while they are found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from attncli.data import KINDS, Array, Edges, Kind, LayerMaps
from attncli.page.blobs import coded_weights, weight_codes

ROWS = 256
"""Rows of a kept map that are sorted at a time."""
_LAST = (1 << 32) - 1
Place = tuple[int, Kind, int | str]
"""Text, kind and layer."""


@dataclass(frozen=True, eq=False)
class EdgeTable:
    """The strongest weights of one layer, largest first: scale [head, query], keys and codes [head, query, edge].

    `coded_weights` says what scale and code are; code 0 is no edge. keys are uint16 where that is enough, else uint32.
    """

    scale: Array
    keys: Array
    codes: Array

    @classmethod
    def empty(cls, heads: int, queries: int, keys: int, per_row: int) -> EdgeTable:
        """No edge yet, every row undefined."""
        shape = heads, queries, per_row
        scale = np.full(shape[:2], np.nan, np.float32)
        return cls(scale, np.zeros(shape, _key_type(keys)), np.zeros(shape, np.uint8))

    @classmethod
    def of_maps(cls, maps: LayerMaps, per_row: int) -> EdgeTable:
        """Those of kept maps; of equal weights the first key comes first."""
        heads, queries, keys = maps.weights.shape
        table = cls.empty(heads, queries, keys, min(per_row, keys))
        for head, weights in enumerate(maps.weights):
            for first in range(0, queries, ROWS):
                rows = slice(first, first + ROWS)
                found = _largest(weights[rows], table.keys.shape[2])
                table.keys[head, rows] = found
                scale, codes = coded_weights(np.take_along_axis(weights[rows], found, axis=1)[None])
                table.scale[head, rows], table.codes[head, rows] = scale[0], codes[0]
        return table

    @property
    def per_row(self) -> int:
        return int(self.codes.shape[2])


def _key_type(keys: int) -> type:
    return np.uint16 if keys <= 1 << 16 else np.uint32


def _largest(weights: Array, count: int) -> Array:
    """The keys of the largest weights [row, key], as ranks: the bits of the weight, and after them how early it is."""
    ranks = np.nan_to_num(weights).view(np.uint32).astype(np.uint64) << np.uint64(32)
    ranks |= np.uint64(_LAST) - np.arange(weights.shape[1], dtype=np.uint64)
    strongest = np.sort(np.partition(ranks, ranks.shape[1] - count, axis=1)[:, -count:], axis=1)[:, ::-1]
    found: Array = (np.uint64(_LAST) - (strongest & np.uint64(_LAST))).astype(np.int64)
    return found


@dataclass(frozen=True, eq=False)
class EdgeTables:
    """The tables of all layers, of edges that come chunk by chunk.

    heads    the heads of each layer that will come
    per_row  at most so many edges of a row
    """

    heads: Mapping[tuple[Kind, int], Sequence[int]]
    per_row: int
    tables: dict[Place, EdgeTable] = field(default_factory=dict)

    def take(self, edges: Edges) -> None:
        """One chunk; it holds all edges of each of its rows."""
        if not len(edges):
            return
        starts = edges.row_starts
        rank = np.arange(len(edges)) - np.repeat(starts, np.diff([*starts, len(edges)]))
        place = np.stack([edges.text, edges.kind, edges.layer])
        ends = [*(np.flatnonzero((np.diff(place, axis=1) != 0).any(0)) + 1), len(edges)]
        for first, last in zip([0, *ends], ends, strict=False):
            self._lay(edges, slice(first, last), rank[first:last])

    def _lay(self, edges: Edges, part: slice, rank: Array) -> None:
        text, layer = int(edges.text[part.start]), int(edges.layer[part.start])
        kind = KINDS[edges.kind[part.start]]
        heads = np.asarray(self.heads[kind, layer])
        if (text, kind, layer) not in self.tables:
            queries, keys = self._sides(edges, text, kind)
            self.tables[text, kind, layer] = EdgeTable.empty(len(heads), queries, keys, min(self.per_row, keys))
        table = self.tables[text, kind, layer]
        head, query = np.searchsorted(heads, edges.head[part]), edges.query[part]
        weights = edges.weight[part]
        begins = np.flatnonzero(rank == 0)
        table.scale[head[begins], query[begins]] = weights[begins]
        largest = np.repeat(weights[begins], np.diff([*begins, len(weights)]))
        table.keys[head, query, rank] = edges.key[part]
        table.codes[head, query, rank] = weight_codes(weights, largest)

    def _sides(self, edges: Edges, text: int, kind: Kind) -> tuple[int, int]:
        one = next(one for one in edges.inputs if one.index == text)
        queries, keys = one.sides(kind)
        return len(queries), len(keys)
