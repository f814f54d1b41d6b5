"""The sink that pools rows and keys into cells while they stream, so that the map of a text of any length is small."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from attncli.data import Attention, Input, Kind, LayerMaps, Rows, Selection, TokenWindow, Zoom
from attncli.stream.keep import Aggregate, Average, KeepMaps
from attncli.stream.protocol import pop_layer, selected

Tensor = torch.Tensor
_MIN_ROWS = 32
"""At least this many rows are pooled at once."""


class PoolMaps(KeepMaps):
    """Maps in which several tokens share a cell, or of a window of the text; full maps never exist.

    A cell is the mean, or the maximum, of the weights of its visible (query, key) pairs; a cell without such a pair is
    masked. All cells have the same number of tokens, except perhaps the last of a side. Heads and layers are combined
    after pooling, which gives the same mean of means and maximum of maxima. With one token per cell the maps are those
    of `KeepMaps`. Sums are float64, of a few rows float32.
    """

    def __init__(
        self,
        zoom: Zoom,
        heads: Selection | None = None,
        *,
        aggregate: Aggregate = "none",
        aggregate_layers: Average = "none",
    ) -> None:
        super().__init__(heads, aggregate=aggregate, aggregate_layers=aggregate_layers)
        self._zoom = zoom
        self._cells: dict[tuple[Kind, int, int], _Cells] = {}
        self._assignments: dict[int, _Assignment] = {}
        self._visibility: tuple[Tensor, ...] = ()

    def add(self, rows: Rows) -> None:
        part = selected(rows, self._heads)
        if part is None:
            return
        for entry, text in enumerate(part.texts):
            sides = self._zoom.sides(part.query_lengths[entry], part.key_lengths[entry])
            cells = self._cells.setdefault((part.kind, part.layer, text), _Cells(sides, self._zoom.pool == "max"))
            cells.add(part, entry, self._assignment(part, entry, sides))

    def _assignment(self, rows: Rows, entry: int, sides: tuple[TokenWindow, TokenWindow]) -> _Assignment:
        """Return the cells of the rows and keys of a text, computed once for the blocks of all heads."""
        visibility = (rows.visibility.visible, rows.query_positions, rows.key_positions)
        if [*map(id, visibility)] != [*map(id, self._visibility)]:
            self._assignments.clear()
            self._visibility = visibility
        if entry not in self._assignments:
            self._assignments[entry] = _Assignment(rows, entry, sides)
        return self._assignments[entry]

    def end_layer(self, kind: Kind, layer: int) -> None:
        """Finish the cells of a layer and copy them from the device to the host."""
        self._assignments.clear()
        self._visibility = ()
        for (_, _, text), cells in pop_layer(self._cells, kind, layer):
            self._store(text, kind, cells.finish(layer, self._aggregate))

    def result(self, inputs: Sequence[Input]) -> tuple[Attention, ...]:
        """Return the maps ordered by text and kind; `inputs` are the texts that were streamed."""
        return tuple(
            maps.zoomed(self._zoom.sides(len(maps.queries), len(maps.keys)), self._zoom.pool, maps.layers)
            for maps in super().result(inputs)
        )


@dataclass(frozen=True)
class _RowGroup:
    """A few rows of one text and the query cells to which they belong.

    rows    indices of the rows in the block
    cells   [cell] numbers of these query cells; a query without a cell has the number of cells
    member  [1 or head, cell, row] 1 if a real row belongs to a cell, else 0
    pairs   [1 or head, cell, key cell] number of visible pairs
    """

    rows: slice
    cells: Tensor
    member: Tensor
    pairs: Tensor


class _Assignment:
    """The cells to which the rows and keys of one text in a block belong."""

    def __init__(self, rows: Rows, entry: int, sides: tuple[TokenWindow, TokenWindow]) -> None:
        queries, self._keys = sides
        self._key_index = _key_index(rows.key_positions[entry], self._keys)
        positions, visible = rows.query_positions[entry] - queries.first, rows.visible_pairs[entry]
        inside = (positions >= 0) & (positions < queries.tokens)
        cells = positions.div(queries.cell, rounding_mode="floor").where(inside, len(queries))
        step = queries.cell * -(-_MIN_ROWS // queries.cell)
        self.groups = []
        for first in range(0, len(positions), step):
            group = slice(first, min(first + step, len(positions)))
            first_cell = cells[group].min()
            steps = torch.arange((group.stop - group.start - 1) // queries.cell + 2, device=cells.device)
            of_steps = cells[group] - first_cell == steps[:, None]
            member = (of_steps & inside[group] & rows.real[entry][:, None, group]).float()
            pairs = self.by_key_cell(member @ visible[:, group].float()).double().sum(-2)
            self.groups.append(_RowGroup(group, (first_cell + steps).clamp_max(len(queries)), member, pairs))

    def by_key_cell(self, values: Tensor) -> Tensor:
        """Return values [..., key] as [..., token of a cell, key cell], 0 for missing keys."""
        padded = torch.nn.functional.pad(values, (0, 1))
        gathered = padded.gather(-1, self._key_index.expand(*values.shape[:-1], -1))
        return gathered.view(*values.shape[:-1], self._keys.cell, len(self._keys))


def _key_index(positions: Tensor, keys: TokenWindow) -> Tensor:
    """Return [token of a cell x key cell] index in the block of each key; the number of keys for a missing one."""
    count, outside = len(positions), len(keys) * keys.cell
    in_window = positions - keys.first
    in_window = torch.where((in_window >= 0) & (in_window < keys.tokens), in_window, outside)
    index = positions.new_full((outside + 1,), count)
    index = index.scatter_(0, in_window, torch.arange(count, device=positions.device))[:-1]
    return index.view(len(keys), keys.cell).T.flatten()


@dataclass
class _Sums:
    """The cells of some heads so far; one more row than there are cells collects rows that belong to none.

    values  [head, cell, key cell] sums in float64, or maxima
    pairs   [1 or head, cell, key cell] number of visible pairs
    rows    [1 or head, cell] number of rows
    """

    values: Tensor
    pairs: Tensor
    rows: Tensor


@dataclass
class _Cells:
    """The cells of one layer of one text while its rows stream, by the heads of a block and the heads of its mask."""

    sides: tuple[TokenWindow, TokenWindow]
    maximum: bool
    sums: dict[tuple[tuple[int, ...], int], _Sums] = field(default_factory=dict)

    def add(self, rows: Rows, entry: int, assignment: _Assignment) -> None:
        weights = rows.weights[entry]
        for group in assignment.groups:
            sums = self._sums_of(rows.heads, weights, len(group.member))
            block = weights[:, group.rows]
            if self.maximum:
                pooled = assignment.by_key_cell(_largest(block, group.member)).amax(-2)
                sums.values[:, group.cells] = sums.values[:, group.cells].maximum(pooled)
            else:
                member = group.member.to(block.dtype).expand(len(block), -1, -1)
                pooled = assignment.by_key_cell(member @ block).double().sum(-2)
                sums.values.index_add_(1, group.cells, pooled)
            sums.pairs.index_add_(1, group.cells, group.pairs)
            sums.rows.index_add_(1, group.cells, group.member.sum(-1))

    def _sums_of(self, heads: tuple[int, ...], weights: Tensor, mask_heads: int) -> _Sums:
        if (heads, mask_heads) not in self.sums:
            shape = (len(self.sides[0]) + 1, len(self.sides[1]))
            self.sums[heads, mask_heads] = _Sums(
                weights.new_zeros((len(heads), *shape), dtype=weights.dtype if self.maximum else torch.float64),
                weights.new_zeros((mask_heads, *shape), dtype=torch.float64),
                weights.new_zeros((mask_heads, shape[0]), dtype=torch.float32),
            )
        return self.sums[heads, mask_heads]

    def finish(self, layer: int, aggregate: Aggregate) -> LayerMaps:
        """Return the maps ordered by head, or combined over heads."""
        heads, values, pairs, rows = self._all_heads()
        if not self.maximum:
            values = values / pairs.clamp_min(1)
        defined, visible = rows > 0, pairs > 0
        if aggregate == "none":
            values = values.masked_fill(~defined[..., None], torch.nan)
        else:
            defined = defined.expand(len(heads), -1)[..., None]
            if aggregate == "mean":
                values = values.masked_fill(~defined, 0).sum(0) / defined.sum(0)
            else:
                values = values.masked_fill(~defined, -torch.inf).amax(0).masked_fill(~defined.any(0), torch.nan)
            values, visible, heads = values[None], visible.any(0, keepdim=True), ()
        mask = visible.cpu().numpy()
        return LayerMaps(layer, heads, values.cpu().numpy(), None if mask.all() else mask)

    def _all_heads(self) -> tuple[tuple[int, ...], Tensor, Tensor, Tensor]:
        """Return all heads in order with their values, pairs and rows, without the row for no cell."""
        (some_heads, _), first = next(iter(self.sums.items()))
        if len(self.sums) == 1 and list(some_heads) == sorted(some_heads):
            return some_heads, first.values[:, :-1], first.pairs[:, :-1], first.rows[:, :-1]
        heads = tuple(sorted({head for some_heads, _ in self.sums for head in some_heads}))
        parts = (first.values, first.pairs, first.rows)
        values, pairs, rows = (part.new_zeros((len(heads), *part.shape[1:])) for part in parts)
        for (some_heads, _), sums in self.sums.items():
            index = [heads.index(head) for head in some_heads]
            values[index] = values[index].maximum(sums.values) if self.maximum else values[index] + sums.values
            pairs[index] += sums.pairs
            rows[index] += sums.rows
        if bool((pairs == pairs[:1]).all()) and bool((rows == rows[:1]).all()):
            pairs, rows = pairs[:1], rows[:1]
        return heads, values[:, :-1], pairs[:, :-1], rows[:, :-1]


def _largest(weights: Tensor, member: Tensor) -> Tensor:
    """Return the largest weight of the rows of each cell, [head, cell, key]; weights are never negative."""
    return torch.stack([weights.masked_fill(rows[..., None] == 0, 0).amax(1) for rows in member.unbind(1)], 1)
