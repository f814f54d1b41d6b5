"""Sums of attention between the segments of texts, computed from the stream of rows."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from attncli.data import KINDS, Array, Input, Kind, Rows, RowsAs, Scores, Selection
from attncli.data.surfaces import token_columns
from attncli.errors import UsageError
from attncli.inputs.rows_as import rows_as_of
from attncli.stream import selected
from attncli.stream.retrieval import RETRIEVAL_COLUMNS
from attncli.stream.sums import Moments, OpenLayers, Sums
from attncli.studies.segments.positions import PositionMasses
from attncli.studies.segments.result import Segments, column_of
from attncli.studies.segments.retrieval import RETRIEVAL_SOURCE, RetrievalScores
from attncli.studies.segments.sides import RowsAsOf, TextSides, generated_rows, members, names_of_sides

RANGES = {"ratio": (0.0, None), "excess": (-1.0, 1.0), "written": (0.0, None)}
"""The ranges of values that are no shares from 0 to 1."""
SOURCE = "sums of the weights; uniform: 1/|S_i| on each visible key; positional: the head's mean weight at each offset"
_CELL = ("kind", "layer", "head", "from", "to", "texts")
_TOKEN_CELL = ("text", "kind", "layer", "query", "token", "piece", "to")


class SegmentsSink:
    """A sink for attention between segments, for the position baseline of self-attention, and for retrieval scores.

    sides                    segments of the queries and of the keys, by text and kind
    rows_as                  function that returns which rows stand for the tokens of a segment, by its name and kind
    mean_heads, mean_layers  whether only the mean over heads or layers is kept; exact, as sums are linear. Retrieval
                             scores are of single heads, so that there are none then
    mean_name                what the mean over heads is called: mean, or weighted if the stream has combined heads
    of_layers                weights of the layers in their mean
    """

    def __init__(
        self,
        inputs: Sequence[Input],
        sides: TextSides,
        heads: Selection,
        rows_as: RowsAsOf = rows_as_of,
        *,
        mean_heads: bool = False,
        mean_layers: bool = False,
        mean_name: str = "mean",
        of_layers: Mapping[tuple[Kind, int], float] | None = None,
    ) -> None:
        self.sides, self.rows_as = sides, rows_as
        self._heads = heads
        means: Any = {"mean_heads": mean_heads, "mean_layers": mean_layers, "mean_name": mean_name}
        self._observed, self._position = (
            SegmentSums(inputs, sides, heads, rows_as, **means, of_layers=of_layers) for _ in range(2)
        )
        self._retrieval = None if mean_heads or mean_layers else RetrievalScores(inputs, sides, rows_as)
        self._baseline = PositionMasses(self._position)

    def add(self, rows: Rows) -> None:
        part = selected(rows, self._heads)
        if part is None:
            return
        self._observed.add(part)
        if self._retrieval is not None:
            self._retrieval.add(part)
        if part.kind != "cross":
            self._baseline.add(part)

    def end_layer(self, kind: Kind, layer: int) -> None:
        for sink in (self._observed, self._baseline, self._retrieval):
            if sink is not None:
                sink.end_layer(kind, layer)

    def result(self) -> Segments:
        """Return the result; baselines by position are NaN in cross-attention and where visible keys have gaps."""
        observed, position = self._observed.result(), self._position.result()["mass"]
        mass, uniform, ratio = (observed[name] for name in ("mass", "uniform_mass", "ratio"))
        cells = list(_cells_of(mass))
        position_of_cell = dict(zip(_cells_of(position), position.values.tolist(), strict=True))
        positional = np.array([position_of_cell.get(cell, np.nan) for cell in cells])
        excess = mass.values - np.fmax(uniform.values, positional)
        values = {"positional_mass": positional, "ratio": ratio.values, "excess": excess}
        values |= {} if self._retrieval is None else self._retrieval.columns(cells)
        more = {name: _score(name, column, mass.coords) for name, column in values.items()}
        return replace(observed, heads={"mass": mass, "uniform_mass": uniform, **more}, rows_as=self._rows_as())

    def _rows_as(self) -> dict[tuple[Kind, str], RowsAs]:
        """Return by kind and query segment which rows stand for its tokens."""
        names = {kind: names_of_sides(self.sides, kind)[0] for _, kind in self.sides}
        return {(kind, name): self.rows_as(name, kind) for kind, of_kind in names.items() for name in of_kind}


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
        rows_as: RowsAsOf = rows_as_of,
        *,
        mean_heads: bool = False,
        mean_layers: bool = False,
        mean_name: str = "mean",
        of_layers: Mapping[tuple[Kind, int], float] | None = None,
    ) -> None:
        self._mean_name, self._of_layers = mean_name, of_layers
        self._inputs = {text.index: text for text in inputs}
        self._sides, self._heads = sides, heads
        self._mean_heads, self._mean_layers = mean_heads, mean_layers
        self._names = {kind: names_of_sides(sides, kind) for kind in KINDS if any(kind == other for _, other in sides)}
        self._members = {
            (text, kind): members(self._inputs[text], kind, sides[text, kind], self._names[kind], rows_as)
            for text, kind in sides
        }
        self._generated = {(text, kind): generated_rows(self._inputs[text], kind, rows_as) for text, kind in sides}
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
        sides = zip(*(self._members[text, rows.kind] for text in rows.texts), strict=True)
        queries, keys = map(_indicator, sides, (rows.query_positions, rows.key_positions))
        uniform = (rows.visible_pairs.float() @ keys[:, None]).double() / rows.visible_count.clamp_min(1)[..., None]
        return _Membership(keys[:, None], queries[:, None].double() * rows.real[..., None], uniform)

    def _add_generated(self, rows: Rows, mass: torch.Tensor, uniform: torch.Tensor) -> None:
        """Add the sums over heads to [mass or uniform mass, token, to] of the generated tokens of each text."""
        for entry, text in enumerate(rows.texts):
            key, positions = (text, rows.kind, rows.layer), rows.query_positions[entry]
            generated = self._generated[text, rows.kind][1].to(positions.device)
            if len(generated):
                sums = self._token_sums.setdefault(key, mass.new_zeros((2, len(generated), mass.shape[-1])))
                kept = torch.isin(positions, generated)
                both = torch.stack([values[entry][:, kept].sum(0) for values in (mass, uniform)])
                sums.index_add_(1, torch.searchsorted(generated, positions[kept]), both)

    def members_of(self, text: int, kind: Kind) -> tuple[Array, Array]:
        """Return which rows stand for the tokens of each segment, and which keys are in it, as `members` does."""
        return self._members[text, kind]

    def end_layer(self, kind: Kind, layer: int) -> None:
        """Add the layer of these texts to the moments over texts."""
        for opened in self._open.pop(kind, layer):
            _, total = opened.joined()
            self.add_layer(kind, layer, opened.texts, total)
        for key in [key for key in self._token_sums if key[1:] == (kind, layer)]:
            self._token_sums[key] = self._token_sums[key].cpu()

    def add_layer(self, kind: Kind, layer: int, texts: Sequence[int], total: Sums) -> None:
        """Add a layer of some texts: the sums over the rows of each segment, and the number of these rows.

        mass, uniform  [text, head, from, to]
        count          [text, head, from]
        """
        means = torch.stack([total["mass"], total["uniform"]], dim=-1) / total["count"][..., None, None]
        values = (means.mean(1, keepdim=True) if self._mean_heads else means).cpu().numpy()
        for entry, text in enumerate(texts):
            absent = [name not in self._sides[text, kind][1].names for name in self._names[kind][1]]
            values[entry, :, :, absent] = np.nan
        self._moments.setdefault((kind, layer), Moments(values.shape[1:])).add(values)

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
            for layer, of_layer in self._mean_if_wanted(kind, values).items():
                same_layer = layers[0] if layer == "mean" else layer  # of a mean, all layers have the same heads
                heads = (self._mean_name,) if self._mean_heads else self._heads[kind, same_layer]
                texts = self._moments[kind, same_layer].count[..., 0].astype(int)
                for head, query, key in np.argwhere(texts > 0).tolist():
                    cell = (kind, layer, heads[head], queries[query], keys[key], texts[head, query, key])
                    yield *cell, *of_layer[head, query, key]

    def _token_cells(self) -> Iterator[tuple[Any, ...]]:
        """Yield the coordinates of each generated token and segment of its text, its mass and its uniform mass."""
        for text, kind in sorted(self._sides, key=lambda key: (key[0], KINDS.index(key[1]))):
            layers = sorted(layer for *other, layer in self._token_sums if other == [text, kind])
            if not layers:
                continue
            sums = {layer: self._token_sums[text, kind, layer].numpy() for layer in layers}
            means = {layer: values / len(self._heads[kind, layer]) for layer, values in sums.items()}
            texts, pieces = token_columns(self._inputs[text].sides(kind)[0])
            names = self._sides[text, kind][1].names
            for layer, values in self._mean_if_wanted(kind, means).items():
                for row, position in enumerate(self._generated[text, kind][0].tolist()):
                    for column, name in enumerate(self._names[kind][1]):
                        if name in names:
                            cell = (text, kind, layer, position, texts[position], pieces[position], name)
                            yield *cell, *values[:, row, column]

    def _mean_if_wanted(self, kind: Kind, layers: Mapping[int, Array]) -> Mapping[Any, Array]:
        """Return the values of each layer, or only their mean; raise UsageError if layers differ in their heads."""
        if not self._mean_layers or not layers:
            return layers
        counts = {len(values) for values in layers.values()}
        if len(counts) > 1:
            raise UsageError(f"layers differ in their number of heads ({sorted(counts)}): select layers that agree")
        shares = None if self._of_layers is None else [self._of_layers[kind, layer] for layer in layers]
        return {"mean": np.average(list(layers.values()), axis=0, weights=shares)}


def _scores(cells: Sequence[tuple[Any, ...]], names: Sequence[str]) -> dict[str, Scores]:
    """Return `mass` and `uniform_mass` with dim `row`; a cell is its coordinates `names`, mass and uniform mass."""
    coords = {name: ("row", column_of([cell[index] for cell in cells])) for index, name in enumerate(names)}
    values = np.array([cell[len(names) :] for cell in cells]).reshape(-1, 2)
    return {name: _score(name, values[:, index], coords) for index, name in enumerate(("mass", "uniform_mass"))}


def _score(name: str, values: Array, coords: Mapping[str, tuple[str, Array]]) -> Scores:
    unit = "tokens" if name == "written" else "1"
    source = RETRIEVAL_SOURCE if name in RETRIEVAL_COLUMNS else SOURCE
    return Scores(name, values, ("row",), coords, unit, RANGES.get(name, (0.0, 1.0)), source)


def _cells_of(scores: Scores) -> Iterator[tuple[Any, ...]]:
    return zip(*(scores.coords[name][1].tolist() for name in ("kind", "layer", "head", "from", "to")), strict=True)


def _indicator(members: Sequence[Array], positions: torch.Tensor) -> torch.Tensor:
    """Return [batch, position, segment] float: the members of each text at these positions, 0 for padding."""
    padded = np.zeros((len(members), max(map(len, members)) + 1, members[0].shape[1]), np.float32)
    for entry, of_text in enumerate(members):
        padded[entry, : len(of_text)] = of_text
    # padding has the position -1, which is the last entry
    index = (positions % padded.shape[1])[..., None].expand(-1, -1, padded.shape[2])
    return torch.from_numpy(padded).to(positions.device).gather(1, index)
