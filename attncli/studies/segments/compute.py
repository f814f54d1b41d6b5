"""Sums of attention between the segments of texts, computed from the stream of rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from attncli.data import KINDS, Array, Input, Kind, Partition, Rows, Scores, Selection
from attncli.errors import UsageError
from attncli.inputs.partitions import GENERATED, Sides, order_segment_names
from attncli.stream import selected
from attncli.stream.position_baseline import PositionBaseline
from attncli.stream.sums import Moments
from attncli.studies.segments.result import Segments
from attncli.studies.segments.scores import column_of, score_of, scores_of

TextKind = tuple[int, Kind]


@dataclass(frozen=True, eq=False)
class _Membership:
    """Which rows and keys of a block lie in which segment; shared by all heads with the same visibility.

    keys     [batch, 1, key, to] float, 1 if the key is in the segment
    rows     [batch, 1 or head, row, from] float, 1 if the row is in the segment and has a visible key
    uniform  [batch, 1 or head, row, to] float, the mass of uniform weights on each segment
    """

    keys: torch.Tensor
    rows: torch.Tensor
    uniform: torch.Tensor


@dataclass(frozen=True, eq=False)
class _LayerTotals:
    """Sums over the rows of one layer: mass and uniform [batch, head, from, to], count [batch, head, from]; float64."""

    mass: torch.Tensor
    uniform: torch.Tensor
    count: torch.Tensor


@dataclass(frozen=True, eq=False)
class _GeneratedTotals:
    """Sums over the heads of a layer for the generated tokens of a text.

    sums     [mass or uniform mass, token, to] float64
    numbers  [position] the row of `sums` of each token of the text
    """

    sums: torch.Tensor
    numbers: torch.Tensor


@dataclass(frozen=True, eq=False)
class _LayerResult:
    """A layer over all texts: values [head, from, to, mass or uniform mass], texts [head, from, to]."""

    number: int | str
    heads: tuple[int | str, ...]
    values: Array
    texts: Array


class SegmentSums:
    """A sink that sums attention between segments for every head, over one or many texts.

    sides                    segments of the queries and of the keys, by text and kind
    mean_heads, mean_layers  whether only the mean over heads or layers is kept; exact, as sums are linear
    Memory grows with the number of segments and of generated tokens, not with the length of the text.
    """

    def __init__(
        self,
        inputs: Sequence[Input],
        sides: Mapping[TextKind, Sides],
        heads: Selection,
        *,
        mean_heads: bool = False,
        mean_layers: bool = False,
    ) -> None:
        self._inputs = {text.index: text for text in inputs}
        self._sides, self._heads = sides, heads
        self._mean_heads, self._mean_layers = mean_heads, mean_layers
        self._names = {kind: _names(sides, kind) for kind in {kind for _, kind in sides}}
        self._open: dict[tuple[Kind, int, tuple[int, ...]], _LayerTotals] = {}
        self._open_generated: dict[tuple[int, Kind, int], _GeneratedTotals] = {}
        self._tokens: dict[tuple[int, Kind, int], Array] = {}
        self._moments: dict[tuple[Kind, int], Moments] = {}

    def add(self, rows: Rows) -> None:
        """Add one block of rows."""
        part = selected(rows, self._heads)
        if part is None:
            return
        membership = self._membership(part)
        heads = self._heads[part.kind, part.layer]
        head_rows = torch.tensor([heads.index(head) for head in part.heads], device=part.raw.device)
        mass = part.scaled(part.raw @ membership.keys.to(part.raw.dtype)).double()
        sums = self._open.setdefault((part.kind, part.layer, part.texts), self._empty(part, len(heads)))
        uniform, count = membership.uniform.expand_as(mass), membership.rows.expand(-1, len(part.heads), -1, -1)
        sums.mass.index_add_(1, head_rows, count.transpose(2, 3) @ mass)
        sums.uniform.index_add_(1, head_rows, count.transpose(2, 3) @ uniform)
        sums.count.index_add_(1, head_rows, count.sum(2))
        self._add_generated(part, mass, uniform)

    def end_layer(self, kind: Kind, layer: int) -> None:
        """Add the layer of these texts to the moments over texts."""
        for key in [key for key in self._open if key[:2] == (kind, layer)]:
            sums = self._open.pop(key)
            values = torch.stack([sums.mass, sums.uniform], dim=-1) / sums.count[..., None, None]
            values = values.mean(1, keepdim=True) if self._mean_heads else values
            absent = self._absent(key[2], kind).to(values.device)
            defined = values.masked_fill(absent[:, None, None, :, None], torch.nan).cpu().numpy()
            self._moments.setdefault((kind, layer), Moments(defined.shape[1:])).add(defined)
        heads = len(self._heads.get((kind, layer), ()))
        for token_key in [token_key for token_key in self._open_generated if token_key[1:] == (kind, layer)]:
            self._tokens[token_key] = self._open_generated.pop(token_key).sums.cpu().numpy() / heads

    def result(self) -> Segments:
        """Return the result; without standard deviations for a mean over layers, where they are unknown."""
        several = any(moments.count.max() > 1 for moments in self._moments.values()) and not self._mean_layers
        heads = scores_of(list(self._rows("mean")), ("mass", "uniform_mass", "ratio"))
        std = scores_of(list(self._rows("std")), ("mass", "uniform_mass")) if several else {}
        return Segments(heads, std, self._token_scores())

    def _membership(self, rows: Rows) -> _Membership:
        cache: dict[Any, Any] = rows.visibility.cache
        if (self, rows.kind) not in cache:
            cache[self, rows.kind] = self._membership_of(rows)
        membership: _Membership = cache[self, rows.kind]
        return membership

    def _membership_of(self, rows: Rows) -> _Membership:
        queries, keys = (
            _indicator([self._sides[text, rows.kind][side] for text in rows.texts], names, positions)
            for side, (names, positions) in enumerate(
                zip(self._names[rows.kind], (rows.query_positions, rows.key_positions), strict=True)
            )
        )
        uniform = (rows.visible_pairs.float() @ keys[:, None]).double() / rows.visible_count.clamp_min(1)[..., None]
        return _Membership(keys[:, None], queries[:, None].double() * rows.real[..., None], uniform)

    def _empty(self, rows: Rows, heads: int) -> _LayerTotals:
        queries, keys = map(len, self._names[rows.kind])
        sums = torch.zeros((len(rows.texts), heads, queries, 2 * keys + 1), dtype=torch.float64, device=rows.raw.device)
        return _LayerTotals(sums[..., :keys], sums[..., keys:-1], sums[..., -1])

    def _absent(self, texts: Sequence[int], kind: Kind) -> torch.Tensor:
        """Return which segments a text lacks: [batch, to] bool."""
        names = self._names[kind][1]
        return torch.tensor([[name not in self._sides[text, kind][1].names for name in names] for text in texts])

    def _add_generated(self, rows: Rows, mass: torch.Tensor, uniform: torch.Tensor) -> None:
        for entry, text in enumerate(rows.texts):
            generated = _generated(self._inputs[text], rows.kind)
            if not len(generated):
                continue
            key = (text, rows.kind, rows.layer)
            if key not in self._open_generated:
                self._open_generated[key] = _GeneratedTotals(*_slots(generated, rows, entry, mass.shape[-1]))
            totals = self._open_generated[key]
            slots = totals.numbers[rows.query_positions[entry]]
            totals.sums.index_add_(1, slots, torch.stack([mass[entry].sum(0), uniform[entry].sum(0)]))

    def _rows(self, moment: str) -> Iterator[tuple[tuple[Any, ...], Array]]:
        """Yield kind, layer, head, from, to and texts of each cell, and its mass and uniform mass, in order."""
        for kind in KINDS:
            layers: list[_LayerResult] = []
            for layer in sorted(layer for other, layer in self._moments if other == kind):
                moments = self._moments[kind, layer]
                heads = ("mean",) if self._mean_heads else self._heads[kind, layer]
                layers.append(_LayerResult(layer, heads, getattr(moments, moment), moments.count[..., 0]))
            for result in [_mean_of(layers)] if self._mean_layers and layers else layers:
                yield from self._cells(kind, result)

    def _cells(self, kind: Kind, layer: _LayerResult) -> Iterator[tuple[tuple[Any, ...], Array]]:
        """Yield the cells of a layer that some text has."""
        queries, keys = self._names[kind]
        for head, query, key in np.argwhere(layer.texts > 0).tolist():
            texts = int(layer.texts[head, query, key])
            cell = (kind, layer.number, layer.heads[head], queries[query], keys[key], texts)
            yield cell, layer.values[head, query, key]

    def _token_scores(self) -> dict[str, Scores]:
        """Return mass and uniform mass of the generated tokens, empty if there are none."""
        rows: list[tuple[tuple[Any, ...], Array]] = []
        for (text, kind), layers in self._by_text().items():
            generated = _generated(self._inputs[text], kind)
            pieces = self._inputs[text].sides(kind)[0].pieces
            if self._mean_layers:
                layers = {"mean": np.mean(list(layers.values()), axis=0)}
            names = self._sides[text, kind][1].names
            for layer, values in layers.items():
                for slot, position in enumerate(generated.tolist()):
                    query = (text, kind, layer, position, pieces[position])
                    cells = zip(self._names[kind][1], values[:, slot].T, strict=True)
                    rows += [((*query, to), cell) for to, cell in cells if to in names]
        if not rows:
            return {}
        columns = ("text", "kind", "layer", "query", "token", "to")
        coords = {name: ("row", column_of([key[index] for key, _ in rows])) for index, name in enumerate(columns)}
        both = np.array([values for _, values in rows])
        return {name: score_of(name, both[:, index], coords) for index, name in enumerate(("mass", "uniform_mass"))}

    def _by_text(self) -> dict[TextKind, dict[int | str, Array]]:
        """Return the sums of generated tokens by text and kind, then by layer, in order."""
        tokens: dict[TextKind, dict[int | str, Array]] = {}
        for text, kind, layer in sorted(self._tokens, key=lambda key: (key[0], KINDS.index(key[1]), key[2])):
            tokens.setdefault((text, kind), {})[layer] = self._tokens[text, kind, layer]
        return tokens


class SegmentsSink:
    """A sink for attention between segments, and for `positional_mass`, the position baseline of self-attention."""

    def __init__(
        self, inputs: Sequence[Input], sides: Mapping[TextKind, Sides], heads: Selection, **means: bool
    ) -> None:
        self._heads = heads
        self._observed = SegmentSums(inputs, sides, heads, **means)
        self._position = SegmentSums(inputs, sides, heads, **means)
        self._baseline = PositionBaseline(None, self._position)

    def add(self, rows: Rows) -> None:
        """Add one block of rows."""
        self._observed.add(rows)
        part = selected(rows, self._heads)
        if part is not None and part.kind != "cross":
            self._baseline.add(part)

    def end_layer(self, kind: Kind, layer: int) -> None:
        """Add the layer of these texts to the moments over texts."""
        self._observed.end_layer(kind, layer)
        self._baseline.end_layer(kind, layer)

    def result(self) -> Segments:
        """Return the result; `positional_mass` is NaN in cross-attention and where visible keys have gaps."""
        observed, position = self._observed.result(), self._position.result().heads["mass"]
        mass = observed.heads["mass"]
        masses = dict(zip(_cells_of(position), position.values.tolist(), strict=True))
        values = np.array([masses.get(cell, np.nan) for cell in _cells_of(mass)])
        positional = score_of("positional_mass", values, mass.coords)
        heads = {"mass": mass, "uniform_mass": observed["uniform_mass"], "positional_mass": positional}
        return replace(observed, heads={**heads, "ratio": observed["ratio"]})


def _cells_of(scores: Scores) -> Iterator[tuple[Any, ...]]:
    return zip(*(scores.coords[name][1].tolist() for name in ("kind", "layer", "head", "from", "to")), strict=True)


def _names(sides: Mapping[TextKind, Sides], kind: Kind) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of the segments of queries and of keys that any text has."""
    texts = sorted(text for text, other in sides if other == kind)
    queries, keys = (
        order_segment_names(dict.fromkeys(name for text in texts for name in sides[text, kind][side].names))
        for side in (0, 1)
    )
    return queries, keys


def _indicator(parts: Iterable[Partition], names: Sequence[str], positions: torch.Tensor) -> torch.Tensor:
    """Return [batch, position, segment] float: 1 if the token is in the segment, 0 for padding."""
    by_text = [np.array([names.index(name) for name in part.names], np.int64)[part.numbers] for part in parts]
    padded = np.full((len(by_text), max(map(len, by_text)) + 1), len(names))
    for entry, segments in enumerate(by_text):
        padded[entry, : len(segments)] = segments
    # padding has the position -1, which is the last entry
    numbers = torch.from_numpy(padded).to(positions.device).gather(1, positions % padded.shape[1])
    return torch.nn.functional.one_hot(numbers, len(names) + 1)[..., :-1].float()


def _generated(text: Input, kind: Kind) -> Array:
    """Return the positions of the queries that the model generated."""
    queries = text.sides(kind)[0]
    return np.flatnonzero(np.array([name == GENERATED for name in queries.segments]) & ~queries.special)


def _slots(generated: Array, rows: Rows, entry: int, keys: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return empty sums of the generated tokens, the last for all other tokens, and the row of each position."""
    numbers = np.full(rows.query_lengths[entry] + 1, len(generated))
    numbers[generated] = np.arange(len(generated))
    sums = torch.zeros((2, len(generated) + 1, keys), dtype=torch.float64, device=rows.raw.device)
    return sums, torch.from_numpy(numbers).to(rows.raw.device)


def _mean_of(layers: Sequence[_LayerResult]) -> _LayerResult:
    """Return the mean over layers; raise UsageError if they have different numbers of heads."""
    counts = {len(layer.heads) for layer in layers}
    if len(counts) > 1:
        raise UsageError(f"layers differ in their number of heads ({sorted(counts)}): select layers that agree")
    return _LayerResult("mean", layers[0].heads, np.mean([layer.values for layer in layers], axis=0), layers[0].texts)
