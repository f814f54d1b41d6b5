"""The sink that keeps whole maps: of the heads asked for, one by one or combined together while they stream by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch

from attncli.data import KINDS, Array, Attention, Input, Kind, LayerMaps, Rows, Selection
from attncli.errors import UsageError
from attncli.stream.protocol import selected

Aggregate = Literal["none", "mean", "max"]
ALL = -1
"""Stands in place of a head number for one map of all heads."""
FOLD: dict[Aggregate, np.ufunc] = {"none": np.add, "mean": np.add, "max": np.maximum}
"""How rows that come in join those that are there; one head's come once, onto zeros."""


class KeepMaps:
    """Whole maps, float32 on the host: [query, key] of every head asked for, or of all heads combined into one.

    aggregate         none, or the mean or maximum over heads: one map per layer is held, never all heads
    aggregate_layers  none, or the mean over layers: one map per head (or in all) is held
    Rows that may see no key are NaN; they count neither in a mean nor in a maximum.
    """

    def __init__(
        self,
        heads: Selection | None = None,
        *,
        aggregate: Aggregate = "none",
        aggregate_layers: Literal["none", "mean"] = "none",
    ) -> None:
        self._heads = heads
        self._aggregate: Aggregate = aggregate
        self._aggregate_layers = aggregate_layers
        self._open: dict[tuple[Kind, int, int], Canvas] = {}
        self._kept: dict[tuple[int, Kind], list[LayerMaps]] = {}
        self._means: dict[tuple[int, Kind], _LayerMean] = {}

    def add(self, rows: Rows) -> None:
        """Copy one block out."""
        part = selected(rows, self._heads)
        if part is None:
            return
        block = _Block.of(part, self._aggregate)
        sizes = zip(part.query_lengths, part.key_lengths, strict=True)
        for entry, (text, size) in enumerate(zip(part.texts, sizes, strict=True)):
            new = Canvas(self._aggregate, size)
            canvas = self._open.setdefault((part.kind, part.layer, text), new)
            canvas.heads |= set(part.heads)
            canvas.lay(block, entry)

    def end_layer(self, kind: Kind, layer: int) -> None:
        """Finish the maps of a layer."""
        for key in [key for key in self._open if key[:2] == (kind, layer)]:
            self._finish(key[2], kind, layer, self._open.pop(key))

    def _finish(self, text: int, kind: Kind, layer: int, canvas: Canvas) -> None:
        self._store((text, kind), canvas.finish(layer))

    def _store(self, place: tuple[int, Kind], maps: LayerMaps) -> None:
        if self._aggregate_layers == "mean":
            self._means.setdefault(place, _LayerMean()).add(maps)
        else:
            kept = self._kept.setdefault(place, [])
            kept.append(_sharing(maps, kept))

    def result(self, inputs: Sequence[Input]) -> tuple[Attention, ...]:
        """The maps by text, then kind; `inputs` are the texts that went by."""
        sides = {one.index: one for one in inputs}
        kept = {place: [mean.finish()] for place, mean in self._means.items()} | self._kept
        found = []
        for text, kind in sorted(kept, key=lambda place: (place[0], KINDS.index(place[1]))):
            queries, keys = sides[text].sides(kind)
            layers = sorted(kept[text, kind], key=lambda maps: maps.layer)
            found.append(Attention(kind, queries, keys, tuple(layers), text, self._aggregate, self._aggregate_layers))
        return tuple(found)


@dataclass(frozen=True)
class _Block:
    """One block on the host, its heads already combined where they are to be.

    weights [batch, head, row, key] and counts [batch, head, row], how many heads have the row; heads may be (ALL,)
    """

    heads: tuple[int, ...]
    weights: Array
    counts: Array
    visible: Array
    query_positions: Array
    key_positions: Array

    @classmethod
    def of(cls, rows: Rows, aggregate: Aggregate) -> _Block:
        real = rows.real.expand(rows.raw.shape[:3])
        weights, seen = rows.weights, rows.seen
        if aggregate == "mean":
            weights = weights.masked_fill(~real[..., None], 0).sum(1, keepdim=True, dtype=torch.float64)
        elif aggregate == "max":
            weights = weights.masked_fill(~real[..., None], -torch.inf).amax(1, keepdim=True)
        else:
            weights = weights.float()
        if aggregate != "none":
            real, seen = real.sum(1, keepdim=True), seen.any(1, keepdim=True)
        heads = rows.heads if aggregate == "none" else (ALL,)
        on_host = (each.cpu().numpy() for each in (weights, real, seen, rows.query_positions, rows.key_positions))
        return cls(heads, *on_host)


@dataclass
class Canvas:
    """The maps of one layer and text while their rows come in, by head number or `ALL`.

    weights  [query, key] sum or maximum of the maps that came in
    counts   [query] how many of them have this row
    visible  [query, key], under `ALL` where all heads see the same
    """

    aggregate: Aggregate
    size: tuple[int, int]
    heads: set[int] = field(default_factory=set)
    weights: dict[int, Array] = field(default_factory=dict)
    counts: dict[int, Array] = field(default_factory=dict)
    visible: dict[int, Array] = field(default_factory=dict)

    def lay(self, block: _Block, entry: int) -> None:
        """Put the rows of one text where they belong."""
        rows, keys = block.query_positions[entry] >= 0, block.key_positions[entry] >= 0
        row, key = _run(block.query_positions[entry, rows]), _run(block.key_positions[entry, keys])
        for place, head in enumerate(block.heads):
            self._blank(head, block.weights.dtype)
            map_, came = self.weights[head][row, key], block.weights[entry, place][rows][:, keys]
            FOLD[self.aggregate](map_, came, out=map_)
            self.counts[head][row] += block.counts[entry, place, rows]
        same = block.visible.shape[1] == 1
        for place, head in enumerate((ALL,) if same else block.heads):
            visible = self.visible.setdefault(head, np.zeros(self.size, bool))
            visible[row, key] |= block.visible[entry, place][rows][:, keys]

    def _blank(self, head: int, dtype: np.dtype[np.floating]) -> None:
        if head not in self.weights:
            start = -np.inf if self.aggregate == "max" else 0.0
            self.weights[head] = np.full(self.size, start, dtype)
            self.counts[head] = np.zeros(self.size[0], np.int64)

    def settle(self) -> None:
        """Make means of sums, now that all rows are there; rows that see nothing become NaN."""
        for head, weights in self.weights.items():
            if self.aggregate == "mean":
                weights /= np.maximum(self.counts[head], 1)[:, None]
            weights[self.counts[head] == 0] = np.nan

    def finish(self, layer: int) -> LayerMaps:
        """The maps, head by head in order."""
        self.settle()
        heads = () if self.aggregate != "none" else tuple(sorted(self.heads))
        weights = np.stack([self.weights[head] for head in sorted(self.weights)])
        visible = np.stack([self.visible[head] for head in sorted(self.visible)])
        return LayerMaps(layer, heads, weights, None if visible.all() else visible)


def _run(positions: Array) -> slice:
    """Where tokens that follow each other stand in their text."""
    return slice(int(positions[0]), int(positions[-1]) + 1) if len(positions) else slice(0)


class _LayerMean:
    """The mean of maps over layers, of the rows that each has."""

    def __init__(self) -> None:
        self._heads: tuple[int, ...] | None = None
        self._sum: Array = np.zeros(())
        self._count: Array = np.zeros(())
        self._visible: Array = np.zeros((), bool)

    def add(self, maps: LayerMaps) -> None:
        if self._heads not in (None, maps.heads):
            raise UsageError(
                f"the mean over layers needs the same heads in every layer, got {_listed(maps.heads)} in layer "
                f"{maps.layer} after {_listed(self._heads or ())}: select heads that agree, or --aggregate mean"
            )
        self._heads = maps.heads
        defined = ~np.isnan(maps.weights[..., 0])
        self._sum = self._sum + np.nan_to_num(maps.weights.astype(np.float64))
        self._count = self._count + defined
        self._visible = self._visible | (np.True_ if maps.visible is None else maps.visible)

    def finish(self) -> LayerMaps:
        with np.errstate(invalid="ignore"):
            mean = self._sum / self._count[..., None]
        visible = np.broadcast_to(self._visible, (*self._visible.shape[:-2], *mean.shape[-2:]))
        return LayerMaps("mean", self._heads or (), mean, None if visible.all() else visible)


def _listed(heads: tuple[int, ...]) -> str:
    return ", ".join(map(str, heads))


def _sharing(maps: LayerMaps, others: Sequence[LayerMaps]) -> LayerMaps:
    """The same maps, holding another layer's visible array where theirs is equal."""
    if maps.visible is not None:
        for other in others:
            if other.visible is not None and np.array_equal(maps.visible, other.visible):
                return replace(maps, visible=other.visible)
    return maps
