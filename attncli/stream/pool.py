"""The sink that pools rows and keys into cells while they stream by, so that a map of any length stays small."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch

from attncli.data import Attention, Input, Kind, LayerMaps, Rows, Selection, TokenWindow, Zoom
from attncli.stream.keep import Aggregate, KeepMaps
from attncli.stream.protocol import selected

RUN = 32
"""At least so many rows are pooled at a time."""


class PoolMaps(KeepMaps):
    """Maps in which several tokens share a cell, or of a window of the text; whole maps never exist.

    A cell is the mean, or the maximum, of the weights of its visible (query, key) pairs; a cell without such a pair is
    not visible. Each cell holds equally many tokens, the last of a side perhaps fewer. Heads and layers are combined
    after pooling, which is the same for the mean of means and the maximum of maxima. Where every token has its own
    cell, the maps are those of `KeepMaps`. Sums are taken in float64, of a few rows in float32.
    """

    def __init__(
        self,
        zoom: Zoom,
        heads: Selection | None = None,
        *,
        aggregate: Aggregate = "none",
        aggregate_layers: Literal["none", "mean"] = "none",
    ) -> None:
        super().__init__(heads, aggregate=aggregate, aggregate_layers=aggregate_layers)
        self._zoom = zoom
        self._cells: dict[tuple[Kind, int, int], _Cells] = {}
        self._places: dict[int, _Places] = {}
        self._visibility: tuple[torch.Tensor, ...] = ()

    def add(self, rows: Rows) -> None:
        """Pool one block."""
        part = selected(rows, self._heads)
        if part is None:
            return
        for entry, text in enumerate(part.texts):
            sides = self._zoom.sides(part.query_lengths[entry], part.key_lengths[entry])
            cells = self._cells.setdefault((part.kind, part.layer, text), _Cells(sides, self._zoom.pool == "max"))
            cells.lay(part, entry, self._place(part, entry, sides))

    def _place(self, rows: Rows, entry: int, sides: tuple[TokenWindow, TokenWindow]) -> _Places:
        """Where the rows and keys of a text go; the blocks of other heads go to the same places."""
        visibility = (rows.visible, rows.query_positions, rows.key_positions)
        if [*map(id, visibility)] != [*map(id, self._visibility)]:
            self._places.clear()
            self._visibility = visibility
        if entry not in self._places:
            self._places[entry] = _Places.of(rows, entry, sides)
        return self._places[entry]

    def end_layer(self, kind: Kind, layer: int) -> None:
        """Finish the cells of a layer: what was pooled on the device comes to the host."""
        self._places.clear()
        self._visibility = ()
        for key in [key for key in self._cells if key[:2] == (kind, layer)]:
            self._store((key[2], kind), self._cells.pop(key).finish(layer, self._aggregate))

    def result(self, inputs: Sequence[Input]) -> tuple[Attention, ...]:
        """The maps by text, then kind; `inputs` are the texts that went by."""
        return tuple(
            each.zoomed(self._zoom.sides(len(each.queries), len(each.keys)), self._zoom.pool, each.layers)
            for each in super().result(inputs)
        )


@dataclass(frozen=True)
class _Run:
    """A few rows of one text and the cells that they lie in.

    rows    where in the block they are
    target  [cell] numbers of those cells; one past the last for those that do not exist
    member  [1 or head, cell, row] 1 where a row that counts lies in a cell, else 0
    pairs   [1 or head, cell, key cell] how many visible pairs they bring
    """

    rows: slice
    target: torch.Tensor
    member: torch.Tensor
    pairs: torch.Tensor


@dataclass(frozen=True)
class _Places:
    """Where the rows and keys of one text in a block go.

    key_slots  [token of a cell x key cell] place in the block of each key that is shown, one past the last for none
    """

    runs: tuple[_Run, ...]
    key_slots: torch.Tensor
    keys: TokenWindow

    @classmethod
    def of(cls, rows: Rows, entry: int, sides: tuple[TokenWindow, TokenWindow]) -> _Places:
        queries, keys = sides
        slots = _key_slots(rows.key_positions[entry], keys)
        seen, real = rows.seen[entry], rows.real[entry]
        places = cls((), slots, keys)
        runs = []
        for here, cells, inside in _runs(rows.query_positions[entry], queries):
            start = torch.where(inside, cells, len(queries)).min()
            steps = torch.arange(int(here.stop - here.start - 1) // queries.cell + 2, device=cells.device)
            member = (((cells - start) == steps[:, None]) & inside & real[:, None, here]).float()
            pairs = places.by_key(member @ seen[:, here].float()).double().sum(-2)
            runs.append(_Run(here, (start + steps).clamp_max(len(queries)), member, pairs))
        return cls(tuple(runs), slots, keys)

    def by_key(self, weights: torch.Tensor) -> torch.Tensor:
        """[…, key] as [token of a cell, key cell], 0 for keys that are not there."""
        padded = torch.nn.functional.pad(weights, (0, 1))
        found = padded.gather(-1, self.key_slots.expand(*weights.shape[:-1], -1))
        return found.view(*weights.shape[:-1], self.keys.cell, len(self.keys))


def _runs(positions: torch.Tensor, queries: TokenWindow) -> Iterator[tuple[slice, torch.Tensor, torch.Tensor]]:
    """Rows a few at a time: where they are in the block, the cell of each, and whether it is shown at all."""
    step = queries.cell * -(-RUN // queries.cell)
    places = positions - queries.first
    inside = (places >= 0) & (places < queries.tokens)
    cells = places.div(queries.cell, rounding_mode="floor")
    for first in range(0, len(positions), step):
        here = slice(first, min(first + step, len(positions)))
        yield here, cells[here], inside[here]


def _key_slots(positions: torch.Tensor, keys: TokenWindow) -> torch.Tensor:
    count = len(positions)
    places = positions - keys.first
    none = len(keys) * keys.cell
    places = torch.where((places >= 0) & (places < keys.tokens), places, none)
    slots = positions.new_full((none + 1,), count)
    slots = slots.scatter_(0, places, torch.arange(count, device=positions.device))[:-1]
    return slots.view(len(keys), keys.cell).T.flatten()


@dataclass
class _Part:
    """What some heads brought so far; one row more than there are cells takes what belongs to none.

    values  [head, cell, key cell] sums in float64, or maxima
    pairs   [1 or head, cell, key cell] visible pairs
    came    [1 or head, cell] whether any row of a cell went by
    """

    values: torch.Tensor
    pairs: torch.Tensor
    came: torch.Tensor


@dataclass
class _Cells:
    """The cells of one layer and text while their rows come in, by the heads that come together."""

    sides: tuple[TokenWindow, TokenWindow]
    largest: bool
    parts: dict[tuple[tuple[int, ...], int], _Part] = field(default_factory=dict)

    def lay(self, rows: Rows, entry: int, places: _Places) -> None:
        """Pool the rows of one text."""
        weights = rows.weights[entry]
        for run in places.runs:
            part = self._part(rows.heads, weights, run)
            block = weights[:, run.rows]
            if self.largest:
                pooled = places.by_key(_largest(block, run.member)).amax(-2)
                part.values[:, run.target] = part.values[:, run.target].maximum(pooled)
            else:
                member = run.member.to(block.dtype).expand(len(block), -1, -1)
                pooled = places.by_key(member @ block).double().sum(-2)
                part.values.index_add_(1, run.target, pooled)
            part.pairs.index_add_(1, run.target, run.pairs)
            part.came.index_add_(1, run.target, run.member.sum(-1))

    def _part(self, heads: tuple[int, ...], weights: torch.Tensor, run: _Run) -> _Part:
        own = run.member.shape[0]
        if (heads, own) not in self.parts:
            shape = (len(self.sides[0]) + 1, len(self.sides[1]))
            dtype = weights.dtype if self.largest else torch.float64
            self.parts[heads, own] = _Part(
                weights.new_zeros((len(heads), *shape), dtype=dtype),
                weights.new_zeros((own, *shape), dtype=torch.float64),
                weights.new_zeros((own, shape[0]), dtype=torch.float32),
            )
        return self.parts[heads, own]

    def finish(self, layer: int, aggregate: Aggregate) -> LayerMaps:
        """The maps, head by head in order, combined where they are to be."""
        heads, values, pairs, came = self._joined()
        if not self.largest:
            values = values / pairs.clamp_min(1)
        came, visible = came > 0, pairs > 0
        if aggregate == "none":
            values = values.masked_fill(~came[..., None], torch.nan)
        else:
            came = came.expand(len(heads), -1)[..., None]
            if aggregate == "mean":
                values = values.masked_fill(~came, 0).sum(0) / came.sum(0)
            else:
                values = values.masked_fill(~came, -torch.inf).amax(0).masked_fill(~came.any(0), torch.nan)
            values, visible, heads = values[None], visible.any(0, keepdim=True), ()
        shown = visible.cpu().numpy()
        return LayerMaps(layer, heads, values.cpu().numpy(), None if shown.all() else shown)

    def _joined(self) -> tuple[tuple[int, ...], torch.Tensor, torch.Tensor, torch.Tensor]:
        """All heads in order, their values, their pairs and which cells came; without the row for none."""
        (names, _), part = next(iter(self.parts.items()))
        if len(self.parts) == 1 and list(names) == sorted(names):
            return names, part.values[:, :-1], part.pairs[:, :-1], part.came[:, :-1]
        heads = tuple(sorted({head for names, _ in self.parts for head in names}))
        count = len(heads)
        values = part.values.new_zeros((count, *part.values.shape[1:]))
        pairs = part.pairs.new_zeros((count, *part.pairs.shape[1:]))
        came = part.came.new_zeros((count, *part.came.shape[1:]))
        for (names, _), part in self.parts.items():
            at = [heads.index(head) for head in names]
            values[at] = values[at].maximum(part.values) if self.largest else values[at] + part.values
            pairs[at] += part.pairs
            came[at] += part.came
        if bool((pairs == pairs[:1]).all()) and bool((came == came[:1]).all()):
            pairs, came = pairs[:1], came[:1]
        return heads, values[:, :-1], pairs[:, :-1], came[:, :-1]


def _largest(weights: torch.Tensor, member: torch.Tensor) -> torch.Tensor:
    """[head, cell, key]: the largest of each cell's rows; weights are never negative."""
    return torch.stack([weights.masked_fill(own[..., None] == 0, 0).amax(1) for own in member.unbind(1)], 1)
