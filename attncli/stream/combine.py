"""Blocks of rows whose heads are combined into one, as soon as all heads of the rows have come."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch

from attncli.data import Kind, Rows, Selection
from attncli.data.head_weights import LayerWeights
from attncli.data.zoom import Combining
from attncli.stream.keep import ALL
from attncli.stream.over_heads import largest_of_heads, sum_of_heads
from attncli.stream.protocol import Sink, selected
from attncli.stream.weights import with_weights

Tensor = torch.Tensor


class CombinedHeads:
    """Turns blocks of some heads into blocks of one head, `ALL`: the mean or the maximum over heads.

    how      mean, max or weighted, over the heads that have the row
    heads    heads of the stream by kind and layer; without them every block waits for the end of its layer
    weights  those of the heads, for a weighted mean

    Only rows that wait for their last heads are in memory.
    """

    def __init__(self, how: Combining, heads: Selection | None, weights: LayerWeights | None = None) -> None:
        self._how, self._heads, self._weights = how, heads, weights
        self._waiting: dict[tuple[Kind, int, tuple[int, ...]], list[_Strip]] = {}

    def add(self, rows: Rows) -> Iterator[Rows]:
        """Add a block; yield its rows if all heads have come."""
        waiting = self._waiting.setdefault((rows.kind, rows.layer, rows.texts), [])
        of_heads = None if self._weights is None else self._weights.heads[rows.kind, rows.layer]
        strip = next((strip for strip in waiting if strip.fits(rows)), None)
        if strip is None:
            strip = _Strip.of(rows, self._how, of_heads)
            waiting.append(strip)
        else:
            strip.add(_Strip.of(rows, self._how, of_heads))
        if self._heads is not None and len(strip.heads) == len(self._heads[rows.kind, rows.layer]):
            waiting.remove(strip)
            yield strip.combined()

    def end_layer(self, kind: Kind, layer: int) -> Iterator[Rows]:
        """Yield the rows that wait: those of a stream without known heads, or whose heads came with other rows."""
        for key in [key for key in self._waiting if key[:2] == (kind, layer)]:
            strips = self._waiting.pop(key)
            if any(strip.heads != strips[0].heads for strip in strips):
                strips = [_joined(strips)]
            yield from (strip.combined() for strip in strips)


class PassCombined:
    """A sink that passes combined heads on to another sink, as the head `ALL`; the arguments of `CombinedHeads`."""

    def __init__(self, how: Combining, heads: Selection, sink: Sink, weights: LayerWeights | None = None) -> None:
        self._combined, self._heads, self._sink = CombinedHeads(how, heads, weights), heads, sink

    def add(self, rows: Rows) -> None:
        part = selected(rows, self._heads)
        for block in () if part is None else self._combined.add(part):
            self._sink.add(block)

    def end_layer(self, kind: Kind, layer: int) -> None:
        for block in self._combined.end_layer(kind, layer):
            self._sink.add(block)
        self._sink.end_layer(kind, layer)


@dataclass(eq=False)
class _Strip:
    """The heads so far of the rows of one block.

    rows     the first block of these rows, for their positions
    weights  [batch, 1, row, key] sum (float64) or maximum over the heads that have the row
    count    [batch, 1, row] number of these heads, or the sum of their weights
    visible  [batch, 1 or head, row, key] bool: pairs that are visible in any of the heads
    """

    rows: Rows
    weights: Tensor
    count: Tensor
    visible: Tensor
    how: Combining
    heads: set[int]

    @classmethod
    def of(cls, rows: Rows, how: Combining, of_heads: Mapping[int, float] | None) -> _Strip:
        """Return the combined heads of one block; `of_heads` are their weights in a weighted mean."""
        visible, count, share = rows.visible_pairs, rows.real.expand(rows.raw.shape[:3]), None
        if of_heads is not None:
            share = rows.raw.new_tensor([of_heads[head] for head in rows.heads], dtype=torch.float64)
            count = count * share[:, None]
            # a head of weight 0 has no rows; a mask that all heads of the block share is kept as it is
            counted = share > 0 if visible.shape[1] > 1 else (share > 0).any(0, keepdim=True)
            visible = visible if bool(counted.all()) else visible & counted[:, None, None]
        weights = largest_of_heads(rows) if how == "max" else sum_of_heads(rows, share)
        visible = visible if visible.shape[1] == 1 else visible.any(1, keepdim=True)
        return cls(rows, weights, count.sum(1, keepdim=True), visible, how, set(rows.heads))

    def fits(self, rows: Rows) -> bool:
        """Return whether a block has other heads of the same rows and keys."""
        if self.heads & set(rows.heads):
            return False
        mine, other = self.rows.visibility, rows.visibility
        sides = ((mine.query_positions, other.query_positions), (mine.key_positions, other.key_positions))
        return mine is other or all(torch.equal(*side) for side in sides)

    def add(self, other: _Strip) -> None:
        """Add other heads of the same rows and keys."""
        self.weights = self._combine(self.weights, other.weights)
        self.count = self.count + other.count
        if self.visible is not other.visible:  # as it is where all heads share a mask
            self.visible = self.visible | other.visible
        self.heads |= other.heads

    def _combine(self, first: Tensor, second: Tensor) -> Tensor:
        return first.maximum(second) if self.how == "max" else first + second

    def combined(self) -> Rows:
        """Return the rows with one head."""
        weights = self.weights
        if self.how != "max":
            weights = (weights / self.count.where(self.count > 0, 1)[..., None]).to(self.rows.raw.dtype)
        visibility = self.rows.visibility
        if self.visible is not visibility.visible_pairs:
            visibility = replace(visibility, visible=self.visible)
        return replace(with_weights(self.rows, weights), heads=(ALL,), visibility=visibility)

    def spread(self) -> _Strip:
        """Return all rows and keys of the texts at their positions, 0 and invisible where this strip has none."""
        visibility, texts = self.rows.visibility, range(len(self.rows.texts))
        size = max(visibility.query_lengths), max(visibility.key_lengths)
        # padding goes into a last row and column, which are cut off
        index = [
            (torch.where(rows < 0, size[0], rows)[:, None], torch.where(keys < 0, size[1], keys)[None])
            for rows, keys in zip(visibility.query_positions, visibility.key_positions, strict=True)
        ]

        def at_positions(values: Tensor) -> Tensor:
            spread = values.new_zeros((len(texts), 1, size[0] + 1, size[1] + 1))
            for text in texts:
                spread[text, 0][index[text]] = values.expand(len(texts), -1, -1, -1)[text, 0]
            return spread[..., :-1, :-1]

        count = at_positions(self.count[..., None].expand(self.weights.shape))
        queries, keys = (
            torch.stack([torch.where(axis < length, axis, -1) for length in lengths])
            for axis, lengths in (
                (torch.arange(size[0], device=count.device), visibility.query_lengths),
                (torch.arange(size[1], device=count.device), visibility.key_lengths),
            )
        )
        weights, visible = at_positions(self.weights), at_positions(self.visible)
        everywhere = replace(
            visibility,
            visible=visible,
            query_positions=queries,
            key_positions=keys,
            special_keys=torch.zeros_like(keys, dtype=torch.bool),
            common_keys=(0, 0),
            slices=None,
        )
        rows = replace(with_weights(self.rows, weights.to(self.rows.raw.dtype)), visibility=everywhere)
        return _Strip(rows, weights, count.amax(-1), visible, self.how, set())


def _joined(strips: list[_Strip]) -> _Strip:
    """Return one strip with all rows of strips that have different heads or rows."""
    first, *rest = strips
    joined = first.spread()
    for strip in rest:
        joined.add(strip.spread())
    return joined
