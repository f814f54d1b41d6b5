"""The combined map of each layer with its baselines, and the graph of steps from token to token."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from attncli.data import Array, Kind, Selection
from attncli.stream.keep import ALL, Canvas, KeepMaps
from attncli.studies.flow.result import Graph, Level, Stack, Step

VARIANTS = ("values", "uniform", "position")
"""The map itself, its rows replaced by uniform weights, and its mean weight at each offset."""
KindLayer = tuple[Kind, int]
ROWS = 64
"""Rows that are computed at once."""
VariantMaps = tuple[Array, Array, Array]
"""A map [query, key] for each of `VARIANTS`."""


class LayerSteps(KeepMaps):
    """A sink that combines the heads of each layer into one float64 map, and passes it on with its baselines.

    Layers are passed on in the order of `stacking_order`; a layer that ends too early waits.

    heads      heads of the stream that are combined
    receive    function that gets text, kind, layer and maps of each layer
    normalize  whether rows of the combined map are scaled to sum to 1, which rows of norms do not
    """

    def __init__(
        self,
        heads: Selection,
        receive: Callable[[int, Kind, int, VariantMaps], None],
        *,
        aggregate: Literal["mean", "max"] = "mean",
        normalize: bool = False,
    ) -> None:
        super().__init__(heads, aggregate=aggregate)
        self._order, self._receive, self._normalize = stacking_order(heads), receive, normalize
        self._passed: Counter[int] = Counter()  # number of layers of each text that were passed on
        self._waiting: dict[tuple[int, KindLayer], VariantMaps] = {}
        self._masks: dict[tuple[int, Kind], _Mask] = {}

    def _finish(self, text: int, kind: Kind, layer: int, canvas: Canvas) -> None:
        canvas.settle()
        weights = canvas.weights[ALL].astype(np.float64, copy=False)
        undefined = np.isnan(weights[:, 0])
        visible = canvas.visible[ALL]
        weights[undefined], visible[undefined] = 0.0, False
        weights = normalized_rows(weights) if self._normalize else weights
        last = self._masks.get((text, kind))
        if last is None or not np.array_equal(last.visible, visible):  # layers mostly share a mask
            last = self._masks[text, kind] = _Mask.of(visible)
        self._waiting[text, (kind, layer)] = _variants(kind, weights, last)
        for key in self._order[self._passed[text] :]:
            if (text, key) not in self._waiting:
                break
            self._receive(text, *key, self._waiting.pop((text, key)))
            self._passed[text] += 1


def stacking_order(layers: Iterable[KindLayer]) -> list[KindLayer]:
    """Return layers in the order in which a model applies them: the encoder's, then self- and cross-attention in turn.

    >>> stacking_order([("cross", 0), ("decoder", 1), ("decoder", 0), ("encoder", 0), ("cross", 1)])
    [('encoder', 0), ('decoder', 0), ('cross', 0), ('decoder', 1), ('cross', 1)]
    """
    return sorted(layers, key=lambda layer: (layer[0] != "encoder", layer[1], layer[0] == "cross"))


@dataclass(frozen=True, eq=False)
class _Mask:
    """The visible keys of the rows of a layer, and what depends on them alone.

    visible  [query, key] bool
    uniform  [query, key] the map of uniform weights
    counts   [offset] number of rows that see each offset, as `offset_sums`
    """

    visible: Array
    uniform: Array
    counts: Array

    @classmethod
    def of(cls, visible: Array) -> _Mask:
        return cls(visible, visible / np.maximum(visible.sum(-1, keepdims=True), 1), offset_sums(visible))


def variant_maps(kind: Kind, weights: Array, visible: Array) -> VariantMaps:
    """Return a map with its baselines; `weights` [query, key] are zero on masked keys.

    Cross-attention has no offsets, as queries and keys count different texts: its third map is uniform too.
    """
    return _variants(kind, weights, _Mask.of(visible))


def _variants(kind: Kind, weights: Array, mask: _Mask) -> VariantMaps:
    position = mask.uniform if kind == "cross" else _mean_by_offset(weights, mask)
    return weights, mask.uniform, position


def mean_by_offset(weights: Array, visible: Array) -> Array:
    """Return the mean weight at each offset j - i over the rows that see it, with rows scaled to sum to 1.

    >>> mean_by_offset(np.array([[1.0, 0], [0.5, 0.5]]), np.tri(2, dtype=bool)).tolist()
    [[1.0, 0.0], [0.4, 0.6]]
    """
    return _mean_by_offset(np.where(visible, weights, 0.0), _Mask.of(visible))


def _mean_by_offset(weights: Array, mask: _Mask) -> Array:
    queries, keys = weights.shape
    mean = offset_sums(weights) / np.maximum(mask.counts, 1)
    # the row of query i begins at offset -i
    by_row = np.lib.stride_tricks.sliding_window_view(mean, keys)[::-1]
    maps = np.empty(weights.shape)
    for rows in row_blocks(queries):
        np.multiply(by_row[rows], mask.visible[rows], out=maps[rows])
        maps[rows] = normalized_rows(maps[rows])
    return maps


def offset_sums(values: Array) -> Array:
    """Return the sums of [query, key] at each offset j - i, from that of the last query to key 0: [offset] float64."""
    queries, keys = values.shape
    sums, height = np.zeros(queries + keys - 1), min(ROWS, queries)
    # rows are copied so that each starts one key earlier than the one above: offsets become columns
    width = keys + height - 1
    copy = np.zeros(height * width)
    for rows in row_blocks(queries):
        count = rows.stop - rows.start
        sheared = np.lib.stride_tricks.as_strided(copy[height - 1 :], (count, keys), ((width - 1) * 8, 8))
        sheared[:] = values[rows]
        first = queries - rows.start - height
        by_offset = copy[: count * width].reshape(count, width).sum(0)
        sums[max(first, 0) : first + width] += by_offset[max(-first, 0) :]
    return sums


def row_blocks(rows: int) -> Iterator[slice]:
    """Yield a few rows after another, which together stay in the cache."""
    yield from (slice(first, min(first + ROWS, rows)) for first in range(0, rows, ROWS))


def normalized_rows(rows: Array) -> Array:
    """Return rows scaled to sum to 1; a row of zeros stays zero."""
    total = rows.sum(-1, keepdims=True)
    normalized: Array = rows / np.where(total > 0, total, 1.0)
    return normalized


def self_attention_step(weights: Array, residual: bool) -> Array:
    """Return Ã: (Ā + I) with rows scaled to sum to 1; without residual, Ā with rows scaled to sum to 1."""
    return normalized_rows(weights + np.eye(len(weights)) if residual else weights)


def cross_attention_step(weights: Array, residual: bool) -> tuple[Array, Array]:
    """Return the share of itself that each target token keeps [query], and its shares of source tokens [query, key].

    Both together sum to 1.
    """
    both = normalized_rows(np.column_stack([np.full(len(weights), float(residual)), weights]))
    return both[:, 0], both[:, 1:]


class GraphBuilder:
    """Builds the graph of layers: each layer is a level, with steps down to the levels that it reads."""

    def __init__(self, residual: bool) -> None:
        self._residual = residual
        self._levels: list[Level] = []
        self._steps: list[Step] = []
        self._top: dict[Stack, int] = {}

    def add(self, kind: Kind, layer: int, weights: Array) -> None:
        """Add the map [query, key] of the next layer, in the order of `stacking_order`."""
        stack: Stack = "encoder" if kind == "encoder" else "decoder"
        below = self._top[stack] if stack in self._top else self._add_level(stack, "input")
        upper = self._add_level(stack, f"{layer} cross" if kind == "cross" else str(layer))
        if kind == "cross":
            kept, received = cross_attention_step(weights, self._residual)
            self._steps += [Step(upper, below, np.diag(kept)), Step(upper, self._top["encoder"], received)]
        else:
            self._steps.append(Step(upper, below, self_attention_step(weights, self._residual)))

    def _add_level(self, stack: Stack, name: str) -> int:
        """Add a level on top of a stack, and return its number."""
        self._levels.append(Level(stack, name))
        self._top[stack] = len(self._levels) - 1
        return self._top[stack]

    def graph(self, stack: Stack) -> Graph:
        """Return the graph that leads to the top of a stack; the decoder's contains the encoder's."""
        if stack == "decoder":
            return Graph(tuple(self._levels), tuple(self._steps))
        count = self._top["encoder"] + 1
        return Graph(tuple(self._levels[:count]), tuple(step for step in self._steps if step.upper < count))
