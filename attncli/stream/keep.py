"""The sinks that keep maps, full or of a few tokens only, head by head or combined while they stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch

from attncli.data import Array, Attention, Input, Kind, LayerMaps, Rows, Selection, kind_order
from attncli.data.layer_maps import LayerMean
from attncli.stream.over_heads import largest_of_heads, sum_of_heads
from attncli.stream.protocol import pop_layer, selected

Aggregate = Literal["none", "mean", "max", "weighted"]
Average = Literal["none", "mean"]
Side = Literal["query", "key"]
LayerShares = Mapping[tuple[Kind, int], float]
"""The weight of each layer in a mean over layers."""
ALL = -1
"""The head number of a map that combines all heads."""


class KeepMaps:
    """Full maps, float32 on the host: [query, key] of every selected head, or of all heads combined.

    aggregate         none, or the mean or maximum over heads: one map per layer is kept, never all heads; weighted: the
                      stream has combined heads (`PassCombined`)
    aggregate_layers  none, or the mean over layers: one map per head (or for all heads) is kept
    of_layers         weights of the layers in their mean; equal ones by default

    Rows that see no key are NaN; they do not count in a mean or a maximum.
    """

    def __init__(
        self,
        heads: Selection | None = None,
        *,
        aggregate: Aggregate = "none",
        aggregate_layers: Average = "none",
        of_layers: LayerShares | None = None,
    ) -> None:
        self._heads, self._aggregate, self._aggregate_layers = heads, aggregate, aggregate_layers
        self._of_layers = of_layers
        self._open: dict[tuple[Kind, int, int], Canvas] = {}
        self._kept: dict[tuple[int, Kind], list[LayerMaps]] = {}
        self._means: dict[tuple[int, Kind], LayerMean] = {}

    def add(self, rows: Rows) -> None:
        part = selected(rows, self._heads)
        if part is None:
            return
        block = _Block.of(part, self._aggregate)
        for entry, text in enumerate(part.texts):
            size = part.query_lengths[entry], part.key_lengths[entry]
            canvas = self._open.setdefault((part.kind, part.layer, text), Canvas(self._aggregate, size))
            canvas.add(block, entry)

    def end_layer(self, kind: Kind, layer: int) -> None:
        for (_, _, text), canvas in pop_layer(self._open, kind, layer):
            self._finish(text, kind, layer, canvas)

    def _finish(self, text: int, kind: Kind, layer: int, canvas: Canvas) -> None:
        self._store(text, kind, canvas.finish(layer))

    def _store(self, text: int, kind: Kind, maps: LayerMaps) -> None:
        if self._aggregate_layers == "mean":
            weight = 1.0 if self._of_layers is None else self._of_layers[kind, int(maps.layer)]
            self._means.setdefault((text, kind), LayerMean(maps.heads)).add(maps, weight)
        else:
            kept = self._kept.setdefault((text, kind), [])
            kept.append(_share_visible(maps, kept))

    def result(self, inputs: Sequence[Input]) -> tuple[Attention, ...]:
        """Return the maps ordered by text and kind; `inputs` are the texts that were streamed."""
        sides = {text.index: text for text in inputs}
        kept = {key: [mean.finish()] for key, mean in self._means.items()} | self._kept
        attentions = []
        for text, kind in sorted(kept, key=lambda key: (key[0], kind_order(key[1]))):
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
        visible = rows.visible_pairs
        if aggregate == "mean":
            weights = sum_of_heads(rows)
        elif aggregate == "max":
            weights = largest_of_heads(rows)
        else:
            weights = rows.weights.float()
        if aggregate != "none":
            real, visible = real.sum(1, keepdim=True), visible.any(1, keepdim=True)
        tensors = (weights, real, visible, rows.query_positions, rows.key_positions)
        return cls(rows.heads if aggregate == "none" else (ALL,), *(tensor.cpu().numpy() for tensor in tensors))


@dataclass
class Canvas:
    """The maps of one layer of one text while its rows stream, by head number or `ALL`.

    weights  [query, key] sum or maximum of the maps added so far, 0 where no block has the pair; rows of a single head
             are added once
    counts   [query] how many of them have this row
    visible  [query, key]; a single one, under `ALL`, if all heads see the same keys
    """

    aggregate: Aggregate
    size: tuple[int, int]
    weights: dict[int, Array] = field(default_factory=dict)
    counts: dict[int, Array] = field(default_factory=dict)
    visible: dict[int, Array] = field(default_factory=dict)

    def add(self, block: _Block, entry: int) -> None:
        """Combine the rows of one text into the maps, at their positions."""
        rows, keys = _real_part(block.query_positions[entry]), _real_part(block.key_positions[entry])
        cells = _as_slice(block.query_positions[entry, rows]), _as_slice(block.key_positions[entry, keys])
        combine = np.maximum if self.aggregate == "max" else np.add
        for index, head in enumerate(block.heads):
            if head not in self.weights:
                self.weights[head] = np.zeros(self.size, block.weights.dtype)
                self.counts[head] = np.zeros(self.size[0], np.int64)
            target = self.weights[head][cells]
            combine(target, block.weights[entry, index, rows, keys], out=target)
            self.counts[head][cells[0]] += block.counts[entry, index, rows]
        shared = block.visible.shape[1] == 1
        for index, head in enumerate((ALL,) if shared else block.heads):
            visible = self.visible.setdefault(head, np.zeros(self.size, bool))
            visible[cells] |= block.visible[entry, index, rows, keys]

    def settle(self) -> None:
        """Divide sums into means after the last row, and set rows that see no key to NaN."""
        for head, weights in self.weights.items():
            if self.aggregate == "mean":
                weights /= np.maximum(self.counts[head], 1)[:, None]
            weights[self.counts[head] == 0] = np.nan

    def finish(self, layer: int) -> LayerMaps:
        self.settle()
        heads = tuple(sorted(self.weights))
        weights = np.stack([self.weights[head] for head in heads])
        visible = np.stack([self.visible[head] for head in sorted(self.visible)])
        return LayerMaps(layer, () if heads == (ALL,) else heads, weights, None if visible.all() else visible)


def _real_part(positions: Array) -> slice:
    """Return where the real tokens are among positions: between padding before and after them."""
    return _as_slice(np.flatnonzero(positions >= 0))


def _as_slice(positions: Array) -> slice:
    """Return consecutive positions as a slice."""
    return slice(int(positions[0]), int(positions[-1]) + 1) if len(positions) else slice(0)


def _share_visible(maps: LayerMaps, others: Sequence[LayerMaps]) -> LayerMaps:
    """Return the maps with the visible array of another layer if it is equal, to keep it in memory once."""
    if maps.visible is not None:
        for other in others:
            if other.visible is not None and np.array_equal(maps.visible, other.visible):
                return replace(maps, visible=other.visible)
    return maps


class KeepChosen(KeepMaps):
    """Maps with a few queries and all keys, or with all queries and a few keys; full maps never exist.

    side       the side whose tokens are chosen
    positions  ascending positions of the chosen tokens, by text and kind; other texts are left out

    Heads and layers are combined as by `KeepMaps`: the result is that of `KeepMaps` at the chosen tokens.
    """

    def __init__(
        self,
        side: Side,
        positions: Mapping[tuple[int, Kind], Sequence[int] | Array],
        heads: Selection | None = None,
        *,
        aggregate: Aggregate = "none",
        aggregate_layers: Average = "none",
        of_layers: LayerShares | None = None,
    ) -> None:
        super().__init__(heads, aggregate=aggregate, aggregate_layers=aggregate_layers, of_layers=of_layers)
        self._side = side
        self._positions = {key: np.asarray(chosen, np.int64) for key, chosen in positions.items() if len(chosen)}

    def add(self, rows: Rows) -> None:
        for entry, text in enumerate(rows.texts):
            chosen = self._positions.get((text, rows.kind))
            if chosen is None:
                continue
            part = _chosen_queries(rows, entry, chosen) if self._side == "query" else _chosen_keys(rows, entry, chosen)
            if part is not None:
                super().add(part)

    def result(self, inputs: Sequence[Input]) -> tuple[Attention, ...]:
        """Return the maps ordered by text and kind, with the chosen queries or keys."""
        return tuple(self._with_chosen_tokens(attention) for attention in super().result(inputs))

    def _with_chosen_tokens(self, attention: Attention) -> Attention:
        chosen = self._positions[attention.text, attention.kind]
        if self._side == "query":
            return replace(attention, queries=attention.queries.take(chosen))
        layers = tuple(_without_last_key(maps) for maps in attention.layers)
        return replace(attention, keys=attention.keys.take(chosen), layers=layers)


def _chosen_queries(rows: Rows, entry: int, chosen: Array) -> Rows | None:
    """Return the chosen rows of one text, renumbered from 0, or None if the block has none of them."""
    positions = rows.query_positions[entry].cpu().numpy()
    in_block = np.flatnonzero(np.isin(positions, chosen))
    if not len(in_block):
        return None
    numbers = np.searchsorted(chosen, positions[in_block])
    index, queries = (torch.from_numpy(part).to(rows.raw.device) for part in (in_block, numbers))
    text, length = _one_text(rows, entry), (len(chosen),)
    visible, scale = text.visible_pairs[:, :, index], None if text.scale is None else text.scale[:, :, index]
    visibility = replace(text.visibility, visible=visible, query_positions=queries[None], query_lengths=length)
    return replace(text, raw=text.raw[:, :, index], scale=scale, visibility=visibility)


def _chosen_keys(rows: Rows, entry: int, chosen: Array) -> Rows:
    """Return all rows of one text with the chosen keys, renumbered from 0.

    An additional last key of weight 0 is visible to every real row, as a row without visible keys counts as undefined.
    """
    positions = rows.key_positions[entry].cpu().numpy()
    indices = np.full(len(chosen), -1)
    in_block = np.flatnonzero(np.isin(positions, chosen))
    indices[np.searchsorted(chosen, positions[in_block])] = in_block
    index = torch.from_numpy(indices).to(rows.raw.device)
    exists, index = index >= 0, index.clamp_min(0)
    text, count = _one_text(rows, entry), len(chosen) + 1
    visible = torch.cat([text.visible_pairs[..., index] & exists, rows.real[entry, None, ..., None]], dim=-1)
    raw = torch.nn.functional.pad(text.raw[..., index] * exists, (0, 1))
    numbers = torch.arange(count, device=index.device)[None]
    visibility = replace(text.visibility, visible=visible, key_positions=numbers, key_lengths=(count,))
    return replace(text, raw=raw, visibility=visibility)


def _one_text(rows: Rows, entry: int) -> Rows:
    """Return the rows of one text, without the scores and vectors, which maps do not need."""
    visibility = replace(
        rows.visibility,
        visible=rows.visible_pairs[entry, None],
        query_positions=rows.query_positions[entry, None],
        key_positions=rows.key_positions[entry, None],
        query_lengths=(rows.query_lengths[entry],),
        key_lengths=(rows.key_lengths[entry],),
        common_keys=(0, 0),
        slices=None,
    )
    raw, scale = rows.raw[entry, None], None if rows.scale is None else rows.scale[entry, None]
    block = replace(rows, texts=(rows.texts[entry],), raw=raw, scale=scale, visibility=visibility)
    return replace(block, scores=None, largest=None, parts=None, norms=None, sums=None)


def _without_last_key(maps: LayerMaps) -> LayerMaps:
    visible = None if maps.visible is None else maps.visible[..., :-1]
    return replace(maps, weights=maps.weights[..., :-1], visible=visible)
