"""The heads of each layer as one step from token to token, and the baselines that stand beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

import numpy as np

from attncli.data import Array, Kind, Selection
from attncli.stream.keep import ALL, Canvas, KeepMaps
from attncli.studies.flow.result import Graph, Level, Stack, Step

VARIANTS = ("values", "uniform", "position")
"""A map itself, the same with even rows, and its mean by distance."""
Place = tuple[Kind, int]
Maps = tuple[Array, Array, Array]
Take = Callable[[int, Kind, int, Maps], None]
"""Hears of each layer of each text: text, kind, layer, and a map [query, key] for each of `VARIANTS`."""


class LayerSteps(KeepMaps):
    """The sink that combines the heads of each layer into one map, in float64, and hands it on with its baselines.

    It hands on layers in the order in which they stand on top of each other: the encoder's, then in each layer of the
    decoder its self-attention and its cross-attention. What comes earlier waits.

    places  the layers that will come
    shares  rows of the combined map are made to sum to 1, as those of norms do not
    """

    def __init__(
        self,
        places: Iterable[Place],
        take: Take,
        *,
        aggregate: Literal["mean", "max"] = "mean",
        heads: Selection | None = None,
        shares: bool = False,
    ) -> None:
        super().__init__(heads, aggregate=aggregate)
        self._order, self._take, self._shares = in_order(places), take, shares
        self._next: dict[int, int] = {}
        self._waiting: dict[tuple[int, Place], Maps] = {}

    def _finish(self, text: int, kind: Kind, layer: int, canvas: Canvas) -> None:
        canvas.settle()
        weights, visible = canvas.weights[ALL].astype(np.float64), canvas.visible[ALL]
        visible = visible & ~np.isnan(weights[:, :1])
        weights = np.where(visible, weights, 0.0)
        self._waiting[text, (kind, layer)] = variants(kind, to_one(weights) if self._shares else weights, visible)
        at = self._next.get(text, 0)
        while at < len(self._order) and (maps := self._waiting.pop((text, self._order[at]), None)) is not None:
            self._take(text, *self._order[at], maps)
            at += 1
        self._next[text] = at


def in_order(places: Iterable[Place]) -> list[Place]:
    """Layers in the order in which they stand on top of each other.

    >>> in_order([("cross", 0), ("decoder", 1), ("decoder", 0), ("encoder", 0), ("cross", 1)])
    [('encoder', 0), ('decoder', 0), ('cross', 0), ('decoder', 1), ('cross', 1)]
    """
    return sorted(places, key=lambda place: (place[0] != "encoder", place[1], place[0] == "cross"))


def variants(kind: Kind, weights: Array, visible: Array) -> Maps:
    """A map with its baselines; `weights` are zero where nothing is visible.

    Cross-attention has no distances, as i and j count different texts: there even rows stand for its mean by distance.
    """
    even = visible / np.maximum(visible.sum(-1, keepdims=True), 1)
    return weights, even, even if kind == "cross" else by_distance(weights, visible)


def by_distance(weights: Array, visible: Array) -> Array:
    """The mean map by distance: the mean weight at each offset j - i over the rows that see it, rows made to sum to 1.

    >>> by_distance(np.array([[1.0, 0], [0.5, 0.5]]), np.tri(2, dtype=bool)).tolist()
    [[1.0, 0.0], [0.4, 0.6]]
    """
    queries, keys = weights.shape
    offset = np.arange(keys) - np.arange(queries)[:, None] + queries - 1
    total, count = (np.bincount(offset[visible], given, queries + keys - 1) for given in (weights[visible], None))
    mean = total / np.maximum(count, 1)
    return to_one(np.where(visible, mean[offset], 0.0))


def to_one(rows: Array) -> Array:
    """Rows made to sum to 1; a row of zeros stays one."""
    total = rows.sum(-1, keepdims=True)
    made: Array = rows / np.where(total > 0, total, 1.0)
    return made


def own_step(weights: Array, residual: bool) -> Array:
    """Ã = (Ā + I) with rows made to sum to 1; without residual Ā alone."""
    return to_one(weights + np.eye(len(weights)) if residual else weights)


def cross_step(weights: Array, residual: bool) -> tuple[Array, Array]:
    """What a token of the target keeps of itself [query], and what it takes of the source [query, key]; 1 in all."""
    both = to_one(np.column_stack([np.full(len(weights), float(residual)), weights]))
    return both[:, 0], both[:, 1:]


class Steps:
    """The graph of layers as they come: each a level on top of the last, with steps down to what it is made of."""

    def __init__(self, residual: bool) -> None:
        self._residual = residual
        self._levels: list[Level] = []
        self._steps: list[Step] = []
        self._top: dict[Stack, int] = {}

    def add(self, kind: Kind, layer: int, weights: Array) -> None:
        """One layer more."""
        stack: Stack = "encoder" if kind == "encoder" else "decoder"
        below = self._top.get(stack)
        if below is None:
            below = self._level(stack, "input")
        upper = self._level(stack, f"{layer} cross" if kind == "cross" else str(layer))
        if kind == "cross":
            own, given = cross_step(weights, self._residual)
            self._steps += [Step(upper, below, np.diag(own)), Step(upper, self._top["encoder"], given)]
        else:
            self._steps.append(Step(upper, below, own_step(weights, self._residual)))

    def _level(self, stack: Stack, name: str) -> int:
        self._levels.append(Level(stack, name))
        self._top[stack] = len(self._levels) - 1
        return self._top[stack]

    def graph(self, stack: Stack) -> Graph:
        """All that a stack stands on."""
        if stack == "decoder":
            return Graph(tuple(self._levels), tuple(self._steps))
        count = self._top["encoder"] + 1
        return Graph(tuple(self._levels[:count]), tuple(step for step in self._steps if step.upper < count))
