"""The sink that pools rows and keys into cells while they stream, so that the map of a text of any length is small."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch

from attncli.data import Attention, Input, Kind, LayerMaps, Rows, Selection, TokenWindow, Zoom
from attncli.data.transforms import zoomed
from attncli.data.zoom import Combining
from attncli.stream.combine import CombinedHeads
from attncli.stream.keep import ALL, Aggregate, Average, KeepMaps, LayerShares
from attncli.stream.protocol import pop_layer, selected

Tensor = torch.Tensor
_MIN_ROWS = 32
"""At least this many rows are pooled at once."""


class PoolMaps(KeepMaps):
    """Maps in which several tokens share a cell, or of a window of the text; full maps never exist.

    A cell is the mean, or the maximum, of the weights of its visible (query, key) pairs; a cell without such a pair is
    masked. All cells have the same number of tokens, except perhaps the last of a side. Heads and layers are combined
    before pooling: the result is that of `zoomed` for the maps of `KeepMaps`. A mean over layers is only known at the
    end, so that its maps are kept in full, within the window. Sums are float64, of a few rows float32.

    parts  the zoom of the texts that show another part than `zoom`, by text and kind
    """

    def __init__(
        self,
        zoom: Zoom,
        heads: Selection | None = None,
        *,
        aggregate: Aggregate = "none",
        aggregate_layers: Average = "none",
        of_layers: LayerShares | None = None,
        parts: Mapping[tuple[int, Kind], Zoom] | None = None,
    ) -> None:
        super().__init__(heads, aggregate=aggregate, aggregate_layers=aggregate_layers, of_layers=of_layers)
        self._zoom, self._parts = zoom, {} if parts is None else parts
        self._heads_combined = CombinedHeads(aggregate, heads) if aggregate in ("mean", "max") else None
        self._beside = {
            how: PoolMaps(
                replace(zoom, beside=()), heads, aggregate=how, aggregate_layers=aggregate_layers, parts=parts
            )
            for how in (zoom.beside if aggregate == "none" else ())
        }
        self._cells: dict[tuple[Kind, int, int], _Cells] = {}

    def add(self, rows: Rows) -> None:
        part = selected(rows, self._heads)
        if part is None:
            return
        for block in [part] if self._heads_combined is None else self._heads_combined.add(part):
            self._pool(block)
        for combined in self._beside.values():
            combined.add(part)

    def _while_streaming(self, text: int, kind: Kind) -> Zoom:
        """Return the zoom for the rows of a text while they stream."""
        return self._parts.get((text, kind), self._zoom).for_stream(one_layer=self._aggregate_layers == "mean")

    def _pool(self, rows: Rows) -> None:
        for entry, text in enumerate(rows.texts):
            sides = self._while_streaming(text, rows.kind).sides(rows.query_lengths[entry], rows.key_lengths[entry])
            cells = self._cells.setdefault((rows.kind, rows.layer, text), _Cells(sides, self._zoom.pool == "max"))
            cells.add(rows, entry, self._assignment(rows, entry, sides))

    @staticmethod
    def _assignment(rows: Rows, entry: int, sides: tuple[TokenWindow, TokenWindow]) -> _Assignment:
        """Return the cells of the rows and keys of a text, computed once for all blocks with the same visibility."""
        cache: dict[Any, Any] = rows.visibility.cache
        if (_Assignment, entry, sides) not in cache:
            cache[_Assignment, entry, sides] = _Assignment(rows, entry, sides)
        assignment: _Assignment = cache[_Assignment, entry, sides]
        return assignment

    def end_layer(self, kind: Kind, layer: int) -> None:
        """Finish the cells of a layer and copy them from the device to the host."""
        for block in () if self._heads_combined is None else self._heads_combined.end_layer(kind, layer):
            self._pool(block)
        for (_, _, text), cells in pop_layer(self._cells, kind, layer):
            self._store(text, kind, cells.finish(layer))
        for combined in self._beside.values():
            combined.end_layer(kind, layer)

    def result(self, inputs: Sequence[Input]) -> tuple[Attention, ...]:
        """Return the maps ordered by text and kind; `inputs` are the texts that were streamed."""
        attentions = tuple(map(self._zoomed, super().result(inputs)))
        for how, combined in self._beside.items():
            attentions = tuple(map(partial(_with_combined, how), attentions, combined.result(inputs)))
        return attentions

    def _zoomed(self, maps: Attention) -> Attention:
        """Return the streamed maps as a window and cells of the text, pooled now if they were not yet."""
        sides = self._while_streaming(maps.text, maps.kind).sides(len(maps.queries), len(maps.keys))
        maps = maps.zoomed(sides, self._zoom.pool, maps.layers)
        if self._zoom.for_stream(self._aggregate_layers == "mean") == self._zoom:
            return maps
        return zoomed(maps, replace(self._zoom, rows=None, keys=None, beside=()))


def _with_combined(how: Combining, attention: Attention, combined: Attention) -> Attention:
    pairs = zip(attention.layers, combined.layers, strict=True)
    layers = (replace(maps, combined={**maps.combined, how: of_all}) for maps, of_all in pairs)
    return replace(attention, layers=tuple(layers))


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
        raw, factor = rows.raw[entry], rows.factor[entry]
        for group in assignment.groups:
            sums = self._sums_of(rows.heads, raw, len(group.member))
            block, of_rows = raw[:, group.rows], factor[:, group.rows]
            if self.maximum:
                largest = _largest(block * of_rows[..., None], group.member)
                pooled = assignment.by_key_cell(largest).amax(-2)
                sums.values[:, group.cells] = sums.values[:, group.cells].maximum(pooled)
            else:
                member = group.member.to(block.dtype) * of_rows[:, None]
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

    def finish(self, layer: int) -> LayerMaps:
        """Return the maps ordered by head."""
        heads, values, pairs, rows = self._all_heads()
        if not self.maximum:
            values = values / pairs.clamp_min(1)
        values = values.masked_fill((rows == 0)[..., None], torch.nan)
        mask = (pairs > 0).cpu().numpy()
        return LayerMaps(layer, () if heads == (ALL,) else heads, values.cpu().numpy(), None if mask.all() else mask)

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
