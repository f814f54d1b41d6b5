"""Sums of attention between the segments of texts, computed from the stream of rows."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from attncli.data import KINDS, Array, Input, Kind, Partition, Rows, Scores, Selection, Spans
from attncli.data.segments import GENERATED, order_segment_names
from attncli.data.surfaces import token_columns
from attncli.errors import UsageError
from attncli.inputs.partitions import Sides, check_has_segments, partitions
from attncli.stream import selected
from attncli.stream.position_baseline import PositionBaseline
from attncli.stream.sums import Moments, OpenLayers
from attncli.studies.segments.result import Segments, column_of

TextSides = Mapping[tuple[int, Kind], Sides]
"""The segments of the queries and of the keys, by text and kind."""
MOST_SEGMENTS = 128
"""Largest number of segments on a side; more pairs are of no use in a table."""
RANGES = {"mass": (0.0, 1.0), "uniform_mass": (0.0, 1.0), "positional_mass": (0.0, 1.0), "ratio": (0.0, None)}
SOURCE = "sums of the weights; uniform: 1/|S_i| on each visible key; positional: the head's mean weight at each offset"
_CELL = ("kind", "layer", "head", "from", "to", "texts")
_TOKEN_CELL = ("text", "kind", "layer", "query", "token", "piece", "to")


def segments_of_texts(
    inputs: Sequence[Input], kinds: Sequence[Kind], divide: str, spans: Sequence[Spans] | None
) -> TextSides:
    """Return the segments of the queries and keys of each text and kind.

    divide  auto, segment, paragraph or line
    spans   the spans of the segments, one mapping for each text, instead of `divide`
    Raise UsageError if a text has a single segment or too many, or if the spans are not one for each text.
    """
    if spans is not None and len(spans) != len(inputs):
        raise UsageError(
            f"there are segments for {len(spans)} texts and {len(inputs)} texts: give a list with an object for each"
        )
    sides = {
        (text.index, kind): partitions(text, kind, divide, None if spans is None else spans[number])
        for number, text in enumerate(inputs)
        for kind in kinds
    }
    check_has_segments(inputs, list(sides.values()))
    most = max(len(side.names) for both in sides.values() for side in both)
    if most > MOST_SEGMENTS:
        raise UsageError(f"a text has {most} segments, expected at most {MOST_SEGMENTS}: divide it into fewer")
    return sides


class SegmentsSink:
    """A sink for attention between segments, and for `positional_mass`, the position baseline of self-attention.

    sides                    segments of the queries and of the keys, by text and kind
    mean_heads, mean_layers  whether only the mean over heads or layers is kept; exact, as sums are linear
    """

    def __init__(self, inputs: Sequence[Input], sides: TextSides, heads: Selection, **means: bool) -> None:
        self.sides = sides
        self._heads = heads
        self._observed = SegmentSums(inputs, sides, heads, **means)
        self._position = SegmentSums(inputs, sides, heads, **means)
        self._baseline = PositionBaseline(None, self._position)

    def add(self, rows: Rows) -> None:
        self._observed.add(rows)
        part = selected(rows, self._heads)
        if part is not None and part.kind != "cross":
            self._baseline.add(part)

    def end_layer(self, kind: Kind, layer: int) -> None:
        self._observed.end_layer(kind, layer)
        self._baseline.end_layer(kind, layer)

    def result(self) -> Segments:
        """Return the result; `positional_mass` is NaN in cross-attention and where visible keys have gaps."""
        observed, position = self._observed.result(), self._position.result()["mass"]
        mass, uniform, ratio = (observed[name] for name in ("mass", "uniform_mass", "ratio"))
        position_of_cell = dict(zip(_cells_of(position), position.values.tolist(), strict=True))
        values = np.array([position_of_cell.get(cell, np.nan) for cell in _cells_of(mass)])
        positional = _score("positional_mass", values, mass.coords)
        scores = {"mass": mass, "uniform_mass": uniform, "positional_mass": positional, "ratio": ratio}
        return replace(observed, heads=scores)


@dataclass(frozen=True, eq=False)
class _Membership:
    """Which rows and keys of a block lie in which segment; shared by all heads with the same visibility.

    keys     [batch, 1, key, to] float, 1 if the key is in the segment
    rows     [batch, 1 or head, row, from] float64, 1 if the row is in the segment and has a visible key
    uniform  [batch, 1 or head, row, to] float64, the mass of uniform weights on each segment
    """

    keys: torch.Tensor
    rows: torch.Tensor
    uniform: torch.Tensor


class SegmentSums:
    """A sink that sums attention between segments for every head, over one or many texts; see `SegmentsSink`.

    Memory grows with the number of segments and of generated tokens, not with the length of the text.
    """

    def __init__(
        self,
        inputs: Sequence[Input],
        sides: TextSides,
        heads: Selection,
        *,
        mean_heads: bool = False,
        mean_layers: bool = False,
    ) -> None:
        self._inputs = {text.index: text for text in inputs}
        self._sides, self._heads = sides, heads
        self._mean_heads, self._mean_layers = mean_heads, mean_layers
        self._names = {kind: _names(sides, kind) for kind in KINDS if any(kind == other for _, other in sides)}
        self._generated = {(text, kind): _generated(self._inputs[text], kind) for text, kind in sides}
        self._open = OpenLayers()
        self._token_sums: dict[tuple[int, Kind, int], torch.Tensor] = {}
        self._moments: dict[tuple[Kind, int], Moments] = {}

    def add(self, rows: Rows) -> None:
        part = selected(rows, self._heads)
        if part is None:
            return
        cache: dict[Any, Any] = part.visibility.cache
        if (self, part.kind) not in cache:
            cache[self, part.kind] = self._membership(part)
        membership: _Membership = cache[self, part.kind]
        mass = part.scaled(part.raw @ membership.keys.to(part.raw.dtype)).double()
        uniform = membership.uniform.expand_as(mass)
        count = membership.rows.expand(-1, len(part.heads), -1, -1)
        sums = {"mass": count.transpose(2, 3) @ mass, "uniform": count.transpose(2, 3) @ uniform, "count": count.sum(2)}
        self._open.add(part, sums)
        self._add_generated(part, mass, uniform)

    def _membership(self, rows: Rows) -> _Membership:
        names, positions = self._names[rows.kind], (rows.query_positions, rows.key_positions)
        sides = zip(*(self._sides[text, rows.kind] for text in rows.texts), strict=True)
        queries, keys = map(_indicator, sides, names, positions)
        uniform = (rows.visible_pairs.float() @ keys[:, None]).double() / rows.visible_count.clamp_min(1)[..., None]
        return _Membership(keys[:, None], queries[:, None].double() * rows.real[..., None], uniform)

    def _add_generated(self, rows: Rows, mass: torch.Tensor, uniform: torch.Tensor) -> None:
        """Add the sums over heads to [mass or uniform mass, token, to] of the generated tokens of each text."""
        for entry, text in enumerate(rows.texts):
            key, positions = (text, rows.kind, rows.layer), rows.query_positions[entry]
            generated = self._generated[text, rows.kind].to(positions.device)
            if len(generated):
                sums = self._token_sums.setdefault(key, mass.new_zeros((2, len(generated), mass.shape[-1])))
                kept = torch.isin(positions, generated)
                both = torch.stack([values[entry][:, kept].sum(0) for values in (mass, uniform)])
                sums.index_add_(1, torch.searchsorted(generated, positions[kept]), both)

    def end_layer(self, kind: Kind, layer: int) -> None:
        """Add the layer of these texts to the moments over texts."""
        for opened in self._open.pop(kind, layer):
            _, total = opened.joined()
            means = torch.stack([total["mass"], total["uniform"]], dim=-1) / total["count"][..., None, None]
            values = (means.mean(1, keepdim=True) if self._mean_heads else means).cpu().numpy()
            for entry, text in enumerate(opened.texts):
                absent = [name not in self._sides[text, kind][1].names for name in self._names[kind][1]]
                values[entry, :, :, absent] = np.nan
            self._moments.setdefault((kind, layer), Moments(values.shape[1:])).add(values)
        for key in [key for key in self._token_sums if key[1:] == (kind, layer)]:
            self._token_sums[key] = self._token_sums[key].cpu()

    def result(self) -> Segments:
        """Return the result; without standard deviations for a mean over layers, where they are unknown."""
        several = any(moments.count.max() > 1 for moments in self._moments.values()) and not self._mean_layers
        heads = _scores(list(self._cells("mean")), _CELL)
        std = _scores(list(self._cells("std")), _CELL) if several else {}
        tokens = list(self._token_cells())
        with np.errstate(divide="ignore", invalid="ignore"):
            mass, uniform = heads["mass"].values, heads["uniform_mass"].values
            ratio = _score("ratio", np.where(uniform > 0, mass / uniform, np.nan), heads["mass"].coords)
        return Segments({**heads, "ratio": ratio}, std, _scores(tokens, _TOKEN_CELL) if tokens else {})

    def _cells(self, moment: str) -> Iterator[tuple[Any, ...]]:
        """Yield the coordinates of each cell that some text has, its mass and its uniform mass, in order."""
        for kind, (queries, keys) in self._names.items():
            layers = sorted(layer for other, layer in self._moments if other == kind)
            values = {layer: getattr(self._moments[kind, layer], moment) for layer in layers}
            for layer, of_layer in self._mean_if_wanted(values).items():
                same_layer = layers[0] if layer == "mean" else layer  # of a mean, all layers have the same heads
                heads = ("mean",) if self._mean_heads else self._heads[kind, same_layer]
                texts = self._moments[kind, same_layer].count[..., 0].astype(int)
                for head, query, key in np.argwhere(texts > 0).tolist():
                    cell = (kind, layer, heads[head], queries[query], keys[key], texts[head, query, key])
                    yield *cell, *of_layer[head, query, key]

    def _token_cells(self) -> Iterator[tuple[Any, ...]]:
        """Yield the coordinates of each generated token and segment of its text, its mass and its uniform mass."""
        for text, kind in sorted(self._sides, key=lambda key: (key[0], KINDS.index(key[1]))):
            layers = sorted(layer for *other, layer in self._token_sums if other == [text, kind])
            sums = {layer: self._token_sums[text, kind, layer].numpy() for layer in layers}
            means = {layer: values / len(self._heads[kind, layer]) for layer, values in sums.items()}
            texts, pieces = token_columns(self._inputs[text].sides(kind)[0])
            names = self._sides[text, kind][1].names
            for layer, values in self._mean_if_wanted(means).items():
                for row, position in enumerate(self._generated[text, kind].tolist()):
                    for column, name in enumerate(self._names[kind][1]):
                        if name in names:
                            cell = (text, kind, layer, position, texts[position], pieces[position], name)
                            yield *cell, *values[:, row, column]

    def _mean_if_wanted(self, layers: Mapping[int, Array]) -> Mapping[Any, Array]:
        """Return the values of each layer, or only their mean; raise UsageError if layers differ in their heads."""
        if not self._mean_layers or not layers:
            return layers
        counts = {len(values) for values in layers.values()}
        if len(counts) > 1:
            raise UsageError(f"layers differ in their number of heads ({sorted(counts)}): select layers that agree")
        return {"mean": np.mean(list(layers.values()), axis=0)}


def _scores(cells: Sequence[tuple[Any, ...]], names: Sequence[str]) -> dict[str, Scores]:
    """Return `mass` and `uniform_mass` with dim `row`; a cell is its coordinates `names`, mass and uniform mass."""
    coords = {name: ("row", column_of([cell[index] for cell in cells])) for index, name in enumerate(names)}
    values = np.array([cell[len(names) :] for cell in cells]).reshape(-1, 2)
    return {name: _score(name, values[:, index], coords) for index, name in enumerate(("mass", "uniform_mass"))}


def _score(name: str, values: Array, coords: Mapping[str, tuple[str, Array]]) -> Scores:
    return Scores(name, values, ("row",), coords, "1", RANGES[name], SOURCE)


def _cells_of(scores: Scores) -> Iterator[tuple[Any, ...]]:
    return zip(*(scores.coords[name][1].tolist() for name in ("kind", "layer", "head", "from", "to")), strict=True)


def _names(sides: TextSides, kind: Kind) -> tuple[tuple[str, ...], tuple[str, ...]]:
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


def _generated(text: Input, kind: Kind) -> torch.Tensor:
    """Return the positions of the queries that the model generated."""
    queries = text.sides(kind)[0]
    generated = np.array([name == GENERATED for name in queries.segments]) & ~queries.special
    return torch.from_numpy(np.flatnonzero(generated))
