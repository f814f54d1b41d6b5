"""The sink that sums up attention between segments: a product of each block with which key is in which segment."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from attncli.data import KINDS, Array, Input, Kind, Partition, Rows, Scores, Selection
from attncli.errors import UsageError
from attncli.inputs.partitions import GENERATED, Sides, ordered
from attncli.stream import selected
from attncli.stream.moments import Moments
from attncli.stream.position_baseline import PositionBaseline
from attncli.studies.segments.result import Segments

RANGES = {"mass": (0.0, 1.0), "uniform_mass": (0.0, 1.0), "positional_mass": (0.0, 1.0), "ratio": (0.0, None)}
SOURCE = "sums of the weights; uniform: 1/|S_i| on each visible key; positional: the head's mean weight at each offset"
Place = tuple[int, Kind]


@dataclass(frozen=True, eq=False)
class _Sight:
    """What the blocks of all heads with one visibility share, all float.

    keys     [batch, 1, key, to] 1 where the key is in the segment
    rows     [batch, 1 or head, row, from] 1 where the row is in the segment and sees a key
    uniform  [batch, 1 or head, row, to] what even attention puts on each segment
    """

    keys: torch.Tensor
    rows: torch.Tensor
    uniform: torch.Tensor


@dataclass(frozen=True, eq=False)
class _Sums:
    """One layer of a batch: mass and uniform [batch, head, from, to] float64, count [batch, head, from]."""

    mass: torch.Tensor
    uniform: torch.Tensor
    count: torch.Tensor


@dataclass(frozen=True, eq=False)
class _Tokens:
    """Of the tokens that the model wrote in one text, summed over the heads of a layer: [2, token, to] float64."""

    sums: torch.Tensor
    numbers: torch.Tensor


@dataclass(frozen=True, eq=False)
class _Layer:
    """What becomes of a layer: values [head, from, to, 2], texts [head, from, to]."""

    number: int | str
    heads: tuple[int | str, ...]
    values: Array
    texts: Array


class SegmentMass:
    """Attention between segments, of every head, over one or many texts.

    sides  of each text and kind the segments of its queries and of its keys
    mean_heads, mean_layers  whether only the mean over them is wanted, which is exact, as sums are linear
    Memory grows with the segments and not with the text, but for a row per token that the model wrote.
    """

    def __init__(
        self,
        inputs: Sequence[Input],
        sides: Mapping[Place, Sides],
        heads: Selection,
        *,
        mean_heads: bool = False,
        mean_layers: bool = False,
    ) -> None:
        self._inputs = {one.index: one for one in inputs}
        self._sides, self._heads = sides, heads
        self._mean_heads, self._mean_layers = mean_heads, mean_layers
        self._names = {kind: _names(sides, kind) for kind in {kind for _, kind in sides}}
        self._open: dict[tuple[Kind, int, tuple[int, ...]], _Sums] = {}
        self._written: dict[tuple[int, Kind, int], _Tokens] = {}
        self._tokens: dict[tuple[int, Kind, int], Array] = {}
        self._done: dict[tuple[Kind, int], Moments] = {}

    def add(self, rows: Rows) -> None:
        """Sum up one block and let it go."""
        part = selected(rows, self._heads)
        if part is None:
            return
        visibility = self._visibility(part)
        heads = self._heads[part.kind, part.layer]
        at = torch.tensor([heads.index(head) for head in part.heads], device=part.raw.device)
        mass = part.scaled(part.raw @ visibility.keys.to(part.raw.dtype)).double()
        sums = self._open.setdefault((part.kind, part.layer, part.texts), self._empty(part, len(heads)))
        uniform, count = visibility.uniform.expand_as(mass), visibility.rows.expand(-1, len(part.heads), -1, -1)
        sums.mass.index_add_(1, at, count.transpose(2, 3) @ mass)
        sums.uniform.index_add_(1, at, count.transpose(2, 3) @ uniform)
        sums.count.index_add_(1, at, count.sum(2))
        self._add_written(part, mass, uniform)

    def end_layer(self, kind: Kind, layer: int) -> None:
        """Combine the layer of these texts into the moments over texts."""
        for place in [place for place in self._open if place[:2] == (kind, layer)]:
            sums = self._open.pop(place)
            values = torch.stack([sums.mass, sums.uniform], dim=-1) / sums.count[..., None, None]
            values = values.mean(1, keepdim=True) if self._mean_heads else values
            absent = self._absent(place[2], kind, values.shape[3])
            found = values.masked_fill(absent.to(values.device)[:, None, None, :, None], torch.nan).cpu().numpy()
            self._done.setdefault((kind, layer), Moments(found.shape[1:])).add(found)
        for written in [place for place in self._written if place[1:] == (kind, layer)]:
            self._tokens[written] = self._written.pop(written).sums.cpu().numpy() / len(self._heads[kind, layer])

    def result(self) -> Segments:
        """What was summed up; of the mean over layers the standard deviation over texts is not known."""
        several = any(moments.count.max() > 1 for moments in self._done.values()) and not self._mean_layers
        heads = _scores(list(self._rows("mean")), ("mass", "uniform_mass", "ratio"))
        std = _scores(list(self._rows("std")), ("mass", "uniform_mass")) if several else {}
        return Segments(heads, std, self._token_scores())

    def _visibility(self, rows: Rows) -> _Sight:
        memory: dict[Any, Any] = rows.visibility.cache
        if (self, rows.kind) not in memory:
            memory[self, rows.kind] = self._looked_at(rows)
        found: _Sight = memory[self, rows.kind]
        return found

    def _looked_at(self, rows: Rows) -> _Sight:
        queries, keys = (
            _indicator([self._sides[text, rows.kind][side] for text in rows.texts], self._names[rows.kind][side], at)
            for side, at in enumerate((rows.query_positions, rows.key_positions))
        )
        uniform = (rows.visible_pairs.float() @ keys[:, None]).double() / rows.visible_count.clamp_min(1)[..., None]
        return _Sight(keys[:, None], queries[:, None].double() * rows.real[..., None], uniform)

    def _empty(self, rows: Rows, heads: int) -> _Sums:
        queries, keys = map(len, self._names[rows.kind])
        sums = torch.zeros((len(rows.texts), heads, queries, 2 * keys + 1), dtype=torch.float64, device=rows.raw.device)
        return _Sums(sums[..., :keys], sums[..., keys:-1], sums[..., -1])

    def _absent(self, texts: Sequence[int], kind: Kind, keys: int) -> torch.Tensor:
        """[batch, to] bool: segments that a text does not have."""
        names = self._names[kind][1]
        return torch.tensor([[name not in self._sides[text, kind][1].names for name in names] for text in texts])

    def _add_written(self, rows: Rows, mass: torch.Tensor, uniform: torch.Tensor) -> None:
        for entry, text in enumerate(rows.texts):
            written = _written(self._inputs[text], rows.kind)
            if not len(written):
                continue
            place = (text, rows.kind, rows.layer)
            if place not in self._written:
                self._written[place] = _Tokens(*_slots(written, rows, entry, mass.shape[-1]))
            tokens = self._written[place]
            slot = tokens.numbers[rows.query_positions[entry]]
            both = torch.stack([mass[entry].sum(0), uniform[entry].sum(0)])
            tokens.sums.index_add_(1, slot, both)

    def _rows(self, what: str) -> Iterator[tuple[tuple[Any, ...], Array]]:
        """Kind, layer, head, from, to, texts, and the two values there, in order."""
        for kind in KINDS:
            there: list[_Layer] = []
            for layer in sorted(layer for of, layer in self._done if of == kind):
                moments = self._done[kind, layer]
                heads = ("mean",) if self._mean_heads else self._heads[kind, layer]
                there.append(_Layer(layer, heads, getattr(moments, what), moments.count[..., 0]))
            for one in [_mean_of(there)] if self._mean_layers and there else there:
                yield from self._cells(kind, one)

    def _cells(self, kind: Kind, layer: _Layer) -> Iterator[tuple[tuple[Any, ...], Array]]:
        queries, keys = self._names[kind]
        for head, query, key in np.argwhere(layer.texts > 0).tolist():
            texts = int(layer.texts[head, query, key])
            cell = (kind, layer.number, layer.heads[head], queries[query], keys[key], texts)
            yield cell, layer.values[head, query, key]

    def _token_scores(self) -> dict[str, Scores]:
        rows: list[tuple[tuple[Any, ...], Array]] = []
        for (text, kind), layers in self._by_text().items():
            written = _written(self._inputs[text], kind)
            pieces = self._inputs[text].sides(kind)[0].pieces
            if self._mean_layers:
                layers = {"mean": np.mean(list(layers.values()), axis=0)}
            there = self._sides[text, kind][1].names
            for layer, values in layers.items():
                for slot, at in enumerate(written.tolist()):
                    cells = zip(self._names[kind][1], values[:, slot].T, strict=True)
                    rows += [((text, kind, layer, at, pieces[at], to), cell) for to, cell in cells if to in there]
        if not rows:
            return {}
        columns = ("text", "kind", "layer", "query", "token", "to")
        coords = {name: ("row", _column([place[at] for place, _ in rows])) for at, name in enumerate(columns)}
        both = np.array([values for _, values in rows])
        return {name: _score(name, both[:, at], coords) for at, name in enumerate(("mass", "uniform_mass"))}

    def _by_text(self) -> dict[Place, dict[int | str, Array]]:
        found: dict[Place, dict[int | str, Array]] = {}
        for text, kind, layer in sorted(self._tokens, key=lambda place: (place[0], KINDS.index(place[1]), place[2])):
            found.setdefault((text, kind), {})[layer] = self._tokens[text, kind, layer]
        return found


class SegmentMassBeside:
    """The same, with what the heads would give by position alone as `positional_mass`: in self-attention."""

    def __init__(self, inputs: Sequence[Input], sides: Mapping[Place, Sides], heads: Selection, **means: bool) -> None:
        self._heads = heads
        self._found = SegmentMass(inputs, sides, heads, **means)
        self._position = SegmentMass(inputs, sides, heads, **means)
        self._explained = PositionBaseline(None, self._position)

    def add(self, rows: Rows) -> None:
        """Sum up one block and let it go."""
        self._found.add(rows)
        part = selected(rows, self._heads)
        if part is not None and part.kind != "cross":
            self._explained.add(part)

    def end_layer(self, kind: Kind, layer: int) -> None:
        """Combine the layer of these texts into the moments over texts."""
        self._found.end_layer(kind, layer)
        self._explained.end_layer(kind, layer)

    def result(self) -> Segments:
        """What was summed up; NaN where position says nothing: cross-attention, keys with gaps between them."""
        found, position = self._found.result(), self._position.result().heads["mass"]
        mass = found.heads["mass"]
        masses = dict(zip(_cells_of(position), position.values.tolist(), strict=True))
        values = np.array([masses.get(cell, np.nan) for cell in _cells_of(mass)])
        beside = {"positional_mass": _score("positional_mass", values, mass.coords)}
        return replace(
            found, heads={"mass": mass, "uniform_mass": found["uniform_mass"], **beside, "ratio": found["ratio"]}
        )


def _cells_of(scores: Scores) -> Iterator[tuple[Any, ...]]:
    return zip(*(scores.coords[name][1].tolist() for name in ("kind", "layer", "head", "from", "to")), strict=True)


def _names(sides: Mapping[Place, Sides], kind: Kind) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The segments of queries and of keys that any text has."""
    texts = sorted(text for text, of in sides if of == kind)
    queries, keys = (
        ordered(dict.fromkeys(name for text in texts for name in sides[text, kind][side].names)) for side in (0, 1)
    )
    return queries, keys


def _indicator(parts: Iterable[Partition], names: Sequence[str], positions: torch.Tensor) -> torch.Tensor:
    """[batch, position, segment] float: 1 where the token is in the segment, 0 everywhere for padding."""
    found = [[names.index(name) for name in part.names] for part in parts]
    places = [np.array(numbers, np.int64)[part.places] for numbers, part in zip(found, parts, strict=True)]
    whole = np.full((len(places), max(map(len, places)) + 1), len(names))
    for entry, own in enumerate(places):
        whole[entry, : len(own)] = own
    # padding is at -1, which is the last entry
    numbers = torch.from_numpy(whole).to(positions.device).gather(1, positions % whole.shape[1])
    return torch.nn.functional.one_hot(numbers, len(names) + 1)[..., :-1].float()


def _written(one: Input, kind: Kind) -> Array:
    """Positions of the queries that the model wrote itself."""
    queries = one.sides(kind)[0]
    return np.flatnonzero(np.array([name == GENERATED for name in queries.segments]) & ~queries.special)


def _slots(written: Array, rows: Rows, entry: int, keys: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Sums of these tokens, the last for all others, and the number of each position among them."""
    numbers = np.full(rows.query_lengths[entry] + 1, len(written))
    numbers[written] = np.arange(len(written))
    sums = torch.zeros((2, len(written) + 1, keys), dtype=torch.float64, device=rows.raw.device)
    return sums, torch.from_numpy(numbers).to(rows.raw.device)


def _mean_of(layers: Sequence[_Layer]) -> _Layer:
    counts = {len(layer.heads) for layer in layers}
    if len(counts) > 1:
        raise UsageError(f"layers differ in their number of heads ({sorted(counts)}): select layers that agree")
    return _Layer("mean", layers[0].heads, np.mean([layer.values for layer in layers], axis=0), layers[0].texts)


def _scores(rows: Sequence[tuple[tuple[Any, ...], Array]], names: Sequence[str]) -> dict[str, Scores]:
    columns = ("kind", "layer", "head", "from", "to", "texts")
    coords = {name: ("row", _column([place[at] for place, _ in rows])) for at, name in enumerate(columns)}
    both = np.array([values for _, values in rows]).reshape(-1, 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(both[:, 1] > 0, both[:, 0] / both[:, 1], np.nan)
    values = dict(zip(("mass", "uniform_mass", "ratio"), (both[:, 0], both[:, 1], ratio), strict=True))
    return {name: _score(name, values[name], coords) for name in names}


def _score(name: str, values: Array, coords: Mapping[str, tuple[str, Array]]) -> Scores:
    return Scores(name, values, ("row",), coords, "1", RANGES[name], SOURCE)


def _column(entries: Sequence[Any]) -> Array:
    if entries and not isinstance(entries[0], str):
        return np.array(entries, dtype=np.int64)
    found: Array = np.empty(len(entries), dtype=object)
    found[:] = entries
    return found
