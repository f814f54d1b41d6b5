"""The sink that keeps full maps, head by head or combined while they stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypedDict, Unpack

import numpy as np
import torch

from attncli.data import KINDS, Array, Attention, Input, Kind, LayerMaps, Rows, Selection
from attncli.errors import UsageError
from attncli.stream.protocol import selected

Aggregate = Literal["none", "mean", "max"]
ALL = -1
"""The head number of a map that combines all heads."""
_COMBINE: dict[Aggregate, np.ufunc] = {"none": np.add, "mean": np.add, "max": np.maximum}
"""How new rows are combined with those of earlier heads; rows of a single head are added once, to zeros."""


class Combination(TypedDict, total=False):
    """How kept maps are combined.

    aggregate         none, or the mean or maximum over heads: one map per layer is kept, never all heads
    aggregate_layers  none, or the mean over layers: one map per head (or for all heads) is kept
    """

    aggregate: Aggregate
    aggregate_layers: Literal["none", "mean"]


class KeepMaps:
    """Full maps, float32 on the host: [query, key] of every selected head, or of all heads combined.

    Rows that see no key are NaN; they do not count in a mean or a maximum.
    """

    def __init__(self, heads: Selection | None = None, **combination: Unpack[Combination]) -> None:
        self._heads = heads
        self._aggregate: Aggregate = combination.get("aggregate", "none")
        self._aggregate_layers = combination.get("aggregate_layers", "none")
        self._open: dict[tuple[Kind, int, int], Canvas] = {}
        self._kept: dict[tuple[int, Kind], list[LayerMaps]] = {}
        self._means: dict[tuple[int, Kind], _LayerMean] = {}

    def add(self, rows: Rows) -> None:
        """Copy one block to the host."""
        part = selected(rows, self._heads)
        if part is None:
            return
        block = _Block.of(part, self._aggregate)
        sizes = zip(part.query_lengths, part.key_lengths, strict=True)
        for entry, (text, size) in enumerate(zip(part.texts, sizes, strict=True)):
            canvas = self._open.setdefault((part.kind, part.layer, text), Canvas(self._aggregate, size))
            canvas.heads |= set(part.heads)
            canvas.add(block, entry)

    def end_layer(self, kind: Kind, layer: int) -> None:
        """Finish the maps of a layer."""
        for key in [key for key in self._open if key[:2] == (kind, layer)]:
            self._finish(key[2], kind, layer, self._open.pop(key))

    def _finish(self, text: int, kind: Kind, layer: int, canvas: Canvas) -> None:
        self._store(text, kind, canvas.finish(layer))

    def _store(self, text: int, kind: Kind, maps: LayerMaps) -> None:
        if self._aggregate_layers == "mean":
            self._means.setdefault((text, kind), _LayerMean()).add(maps)
        else:
            kept = self._kept.setdefault((text, kind), [])
            kept.append(_share_visible(maps, kept))

    def result(self, inputs: Sequence[Input]) -> tuple[Attention, ...]:
        """Return the maps ordered by text and kind; `inputs` are the texts that were streamed."""
        sides = {text.index: text for text in inputs}
        kept = {key: [mean.finish()] for key, mean in self._means.items()} | self._kept
        attentions = []
        for text, kind in sorted(kept, key=lambda key: (key[0], KINDS.index(key[1]))):
            queries, keys = sides[text].sides(kind)
            layers = tuple(sorted(kept[text, kind], key=lambda maps: maps.layer))
            attentions.append(Attention(kind, queries, keys, layers, text, self._aggregate, self._aggregate_layers))
        return tuple(attentions)


@dataclass(frozen=True)
class _Block:
    """One block on the host, with its heads combined if `aggregate` says so.

    heads    head numbers, or (ALL,)
    weights  [batch, head, row, key]
    counts   [batch, head, row] how many heads have the row
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
        weights, visible = rows.weights, rows.visible_pairs
        if aggregate == "mean":
            weights = weights.masked_fill(~real[..., None], 0).sum(1, keepdim=True, dtype=torch.float64)
        elif aggregate == "max":
            weights = weights.masked_fill(~real[..., None], -torch.inf).amax(1, keepdim=True)
        else:
            weights = weights.float()
        if aggregate != "none":
            real, visible = real.sum(1, keepdim=True), visible.any(1, keepdim=True)
        tensors = (weights, real, visible, rows.query_positions, rows.key_positions)
        return cls(rows.heads if aggregate == "none" else (ALL,), *(tensor.cpu().numpy() for tensor in tensors))


@dataclass
class Canvas:
    """The maps of one layer of one text while its rows stream, by head number or `ALL`.

    weights  [query, key] sum or maximum of the maps added so far
    counts   [query] how many of them have this row
    visible  [query, key]; a single one, under `ALL`, if all heads see the same keys
    """

    aggregate: Aggregate
    size: tuple[int, int]
    heads: set[int] = field(default_factory=set)
    weights: dict[int, Array] = field(default_factory=dict)
    counts: dict[int, Array] = field(default_factory=dict)
    visible: dict[int, Array] = field(default_factory=dict)

    def add(self, block: _Block, entry: int) -> None:
        """Combine the rows of one text into the maps, at their positions."""
        rows, keys = block.query_positions[entry] >= 0, block.key_positions[entry] >= 0
        at = _as_slice(block.query_positions[entry, rows]), _as_slice(block.key_positions[entry, keys])
        combine = _COMBINE[self.aggregate]
        for index, head in enumerate(block.heads):
            if head not in self.weights:
                start = -np.inf if self.aggregate == "max" else 0.0
                self.weights[head] = np.full(self.size, start, block.weights.dtype)
                self.counts[head] = np.zeros(self.size[0], np.int64)
            target = self.weights[head][at]
            combine(target, block.weights[entry, index][rows][:, keys], out=target)
            self.counts[head][at[0]] += block.counts[entry, index, rows]
        shared = block.visible.shape[1] == 1
        for index, head in enumerate((ALL,) if shared else block.heads):
            visible = self.visible.setdefault(head, np.zeros(self.size, bool))
            visible[at] |= block.visible[entry, index][rows][:, keys]

    def settle(self) -> None:
        """Divide sums into means after the last row, and set rows that see no key to NaN."""
        for head, weights in self.weights.items():
            if self.aggregate == "mean":
                weights /= np.maximum(self.counts[head], 1)[:, None]
            weights[self.counts[head] == 0] = np.nan

    def finish(self, layer: int) -> LayerMaps:
        """Return the maps, ordered by head."""
        self.settle()
        heads = () if self.aggregate != "none" else tuple(sorted(self.heads))
        weights = np.stack([self.weights[head] for head in sorted(self.weights)])
        visible = np.stack([self.visible[head] for head in sorted(self.visible)])
        return LayerMaps(layer, heads, weights, None if visible.all() else visible)


def _as_slice(positions: Array) -> slice:
    """Return consecutive positions as a slice."""
    return slice(int(positions[0]), int(positions[-1]) + 1) if len(positions) else slice(0)


class _LayerMean:
    """The running mean of maps over layers; each row counts in the layers that have it."""

    def __init__(self) -> None:
        self._heads: tuple[int, ...] | None = None
        self._sum: Array = np.zeros(())
        self._count: Array = np.zeros(())
        self._visible: Array = np.zeros((), bool)

    def add(self, maps: LayerMaps) -> None:
        if self._heads not in (None, maps.heads):
            names = [", ".join(map(str, heads)) for heads in (maps.heads, self._heads or ())]
            raise UsageError(
                f"the mean over layers needs the same heads in every layer, got {names[0]} in layer "
                f"{maps.layer} after {names[1]}: select the same heads in every layer, or use --aggregate mean"
            )
        self._heads = maps.heads
        self._sum = self._sum + np.nan_to_num(maps.weights.astype(np.float64))
        self._count = self._count + ~np.isnan(maps.weights[..., 0])
        self._visible = self._visible | (np.True_ if maps.visible is None else maps.visible)

    def finish(self) -> LayerMaps:
        with np.errstate(invalid="ignore"):
            mean = self._sum / self._count[..., None]
        visible = np.broadcast_to(self._visible, (*self._visible.shape[:-2], *mean.shape[-2:]))
        return LayerMaps("mean", self._heads or (), mean, None if visible.all() else visible)


def _share_visible(maps: LayerMaps, others: Sequence[LayerMaps]) -> LayerMaps:
    """Return the maps with the visible array of another layer if it is equal, to keep it in memory once."""
    if maps.visible is not None:
        for other in others:
            if other.visible is not None and np.array_equal(maps.visible, other.visible):
                return replace(maps, visible=other.visible)
    return maps
