"""The sink that measures where attention goes over the whole text; it keeps one number per key and head."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch

from attncli.data import KINDS, Input, Kind, Profile, Received, Rows, Scores, Selection, has_scale, kind_order
from attncli.data.cached import cached_property
from attncli.stream.diagonal_products import diagonal_sums
from attncli.stream.protocol import selected
from attncli.stream.sums import Coords, HeadTable, OpenLayers, Sums

ENDS = ("first", "near", "rest", "last")
SELF_ONLY = ("near", "rest")
"""Regions that need queries and keys to be positions in the same text."""
_VALUES = ("mass", "uniform_mass")


class MeasureProfile:
    """For every head: what each key receives, and the mass by distance and at the first and last `ends` tokens.

    min_rows  fewest rows that must see a key for it to be a sink, as `Received.least_rows`
    """

    def __init__(
        self,
        inputs: Sequence[Input],
        *,
        ends: int = 64,
        min_rows: float | None = None,
        heads: Selection | None = None,
    ) -> None:
        self._texts, self._heads, self._min_rows = {text.index: text for text in inputs}, heads, min_rows
        sides = (side for text in inputs for kind in (*KINDS, *text.scaled) for side in text.sides(kind))
        longest = max(map(len, sides), default=1)
        self._regions = Regions(longest, ends)
        self._open = OpenLayers()
        self._received: dict[tuple[int, Kind], list[Received]] = {}
        self._table = HeadTable()

    def add(self, rows: Rows) -> None:
        part = selected(rows, self._heads)
        if part is not None:
            self._open.add(part, self._regions.sums(part) | _sums_by_key(part))

    def end_layer(self, kind: Kind, layer: int) -> None:
        for opened in self._open.pop(kind, layer):
            heads, total = opened.joined()
            count = torch.where(total["uniform"] > 0, total["count"], torch.nan)
            means = (torch.stack([total["mass"], total["uniform"]], dim=-1) / count[..., None]).cpu().numpy()
            if kind == "cross":
                means[:, :, [len(self._regions.bins) + ENDS.index(name) for name in SELF_ONLY]] = np.nan
            if not has_scale(kind):
                self._table.add((kind, layer, heads), means)
            values = (total["received"] / total["visible_rows"]).cpu().numpy()
            seen, rows = (total[name].cpu().numpy().astype(np.int32) for name in ("visible_rows", "rows"))
            layers, numbers = np.full(len(heads), layer), np.array(heads)
            for entry, text in enumerate(opened.texts):
                keys = self._texts[text].sides(kind)[1]
                of_keys = values[entry, :, : len(keys)], seen[entry, :, : len(keys)]
                received = Received(text, kind, keys, layers, numbers, *of_keys, rows[entry], self._min_rows)
                self._received.setdefault((text, kind), []).append(received)

    def result(self) -> Profile:
        """Return the profile of all texts that were streamed."""
        bins = np.array(self._regions.bins).reshape(-1, 2).T
        bin_coords = {"from": ("bin", bins[0]), "to": ("bin", bins[1])}
        end_coords = {
            "end": ("end", np.array(ENDS, dtype=object)),
            "tokens": ("end", np.full(len(ENDS), self._regions.ends)),
        }
        of_texts = sorted(self._received.items(), key=lambda item: (item[0][0], kind_order(item[0][1])))
        received = tuple(_join_layers(layers) for _, layers in of_texts)
        distance, ends = self._scores("mean", bin_coords), self._scores("mean", end_coords)
        if not self._table.several_texts:
            return Profile(received, distance, ends)
        return Profile(received, distance, ends, self._scores("std", bin_coords), self._scores("std", end_coords))

    def _scores(self, what: Literal["mean", "std"], region_coords: Coords) -> dict[str, Scores]:
        """Return `_VALUES` with the axes [head, bin] or [head, end], ordered by kind, layer and head."""
        bins, dim = len(self._regions.bins), next(iter(region_coords.values()))[0]
        # distances: not in cross-attention, where i and j count different texts
        kinds = ("encoder", "decoder") if dim == "bin" else None
        coords, values = self._table.rows(what, (bins + len(ENDS), len(_VALUES)), kinds)
        values = values[:, :bins] if dim == "bin" else values[:, bins:]
        coords = {name: coords[name] for name in ("kind", "layer", "head")} | region_coords
        source = "Xiao et al. 2023" if dim == "end" else "Vig & Belinkov 2019"
        return {
            name: Scores(name, values[..., index], ("head", dim), coords, "1", (0.0, 1.0), source)
            for index, name in enumerate(_VALUES)
        }


def _join_layers(parts: list[Received]) -> Received:
    """Return what the keys of one text receive in several layers, in order."""
    parts = sorted(parts, key=lambda part: int(part.layers[0]))
    names = ("layers", "heads", "values", "seen", "rows")
    columns: Any = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    return replace(parts[0], **columns)


def _sums_by_key(rows: Rows) -> Sums:
    """Return sums over the rows of a block.

    received      [batch, head, key] Σ_i A_ik
    visible_rows  [batch, head, key] number of rows that see the key
    rows          [batch, head] number of rows
    """
    heads, padding = rows.raw.shape[1], max(rows.key_lengths)
    received = _products(rows.factor * rows.real.to(rows.factor.dtype), rows.raw)
    zeros = received.new_zeros((len(received), heads, padding + 1), dtype=torch.float64)
    sums: Sums = {"rows": rows.real.sum(2).double().expand(-1, heads)}
    for name, values in (("received", received), ("visible_rows", rows.visibility.visible_rows.expand_as(received))):
        if rows.visibility.slices is None:
            index = torch.where(rows.key_positions < 0, padding, rows.key_positions)[:, None].expand_as(values)
            sums[name] = zeros.scatter_add(-1, index, values.double())[..., :padding]
        else:
            sums[name] = zeros.clone()[..., :padding]
            sums[name][..., rows.visibility.slices[1]] = values
    return sums


def _products(factors: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Return Σ_i f_i A_ik for factors [batch, head, row]: [batch, head, key]."""
    return (factors[:, :, None] @ weights).squeeze(2)


@dataclass(frozen=True, eq=False)
class _Diagonals:
    """The diagonals of some keys of a block.

    keys  indices of the keys in the block
    bins  [offset, bin] float64, 1 if the keys at this offset from a row are in the bin
    ends  [offset, end] float64, the same for the ends
    """

    keys: slice
    bins: torch.Tensor
    ends: torch.Tensor


@dataclass(frozen=True, eq=False)
class _OfMask:
    """What the sums over the rows of a block take from its mask alone.

    counted    [batch, 1 or head, 2, row] bool, rows that count for the bins, and for the ends
    distinct   the same, [batch, 1 or head, 1, row] if the same rows count for both
    uniform    [batch, 1 or head, region] as in `Regions.sums`, and `count`
    by_offset  the parts of the keys whose diagonals are summed up; none if keys have gaps
    """

    counted: torch.Tensor
    distinct: torch.Tensor
    uniform: torch.Tensor
    count: torch.Tensor
    by_offset: Sequence[_Diagonals]


@dataclass(frozen=True)
class Regions:
    """Regions of keys, relative to the query or fixed in the text.

    bins  (from, to) distances |i-j|: 0, 1, 2-3, 4-7, 8-15, … up to the longest distance in texts of `longest` tokens
    ends  N: first, the keys 0 … N-1; near, |i-j| < N, for causal rows the window of recent keys; rest, neither
          first nor near; last, the last N keys of the text
    """

    longest: int
    ends: int

    @cached_property
    def bins(self) -> tuple[tuple[int, int], ...]:
        """The smallest and the largest distance of each bin."""
        starts = [0, *(1 << power for power in range(max(0, self.longest - 1).bit_length()))]
        return tuple((start, max(0, 2 * start - 1)) for start in starts)

    def sums(self, rows: Rows) -> dict[str, torch.Tensor]:
        """Return sums over the rows of a block, [batch, head, region] float64, for the bins, then the ends.

        mass     Σ_i Σ_{j in region} A_ij over the rows that count
        uniform  the same for weights 1/|S_i| on each visible key
        count    number of rows that count: all real rows for the bins, real rows that see more than N keys for the ends
        """
        cache: dict[Any, Any] = rows.visibility.cache
        if self not in cache:
            cache[self] = self._of_mask(rows)
        of_mask: _OfMask = cache[self]
        if rows.visibility.slices is None:
            by_row = self._join_sides(_sums_between(rows.weights, *self._borders(rows), rows.key_positions))
            mass = self._sum_counted(by_row, of_mask.counted)
        else:
            mass = self._sums_by_offset(rows, of_mask)
        heads = rows.raw.shape[1]
        return {"mass": mass, "uniform": of_mask.uniform.expand(-1, heads, -1), "count": of_mask.count.expand_as(mass)}

    def _of_mask(self, rows: Rows) -> _OfMask:
        counted = torch.stack([rows.real, rows.real & (rows.visible_count > self.ends)], dim=2)
        visible = self._join_sides(_sums_between(rows.visible_pairs, *self._borders(rows), rows.key_positions))
        uniform = self._sum_counted(visible / rows.visible_count.clamp_min(1)[..., None], counted)
        count = self._sum_counted(torch.ones_like(visible), counted)
        # only a CPU is asked whether they are the same: the answer of other devices would have to be waited for
        same = counted.device.type == "cpu" and torch.equal(*counted.unbind(2))
        distinct = counted[:, :, :1] if same else counted
        return _OfMask(counted, distinct, uniform, count, tuple(self._diagonals(rows)))

    def _sum_counted(self, by_row: torch.Tensor, counted: torch.Tensor) -> torch.Tensor:
        """Return the sums of [batch, head, row, region] over the rows that count for each region."""
        parts = torch.split(by_row, [len(self.bins), len(ENDS)], dim=-1)
        sums = [(part * counted[:, :, number, :, None]).sum(2) for number, part in enumerate(parts)]
        return torch.cat(sums, dim=-1)

    def _sums_by_offset(self, rows: Rows, of_mask: _OfMask) -> torch.Tensor:
        """Return `mass` of a block without gaps between its keys, from the sums of its diagonals."""
        # mostly the same rows count for both, whose sums are then taken once
        factors = rows.factor[:, :, None] * of_mask.distinct.to(rows.factor.dtype)
        total = rows.raw.new_zeros((*rows.raw.shape[:2], len(self.bins) + len(ENDS)), dtype=torch.float64)
        for diagonals in of_mask.by_offset:
            by_offset = diagonal_sums(rows.raw[..., diagonals.keys], factors).double()
            total += torch.cat([by_offset[:, :, 0] @ diagonals.bins, by_offset[:, :, -1] @ diagonals.ends], dim=-1)
        last = rows.raw[..., max(0, rows.key_lengths[0] - self.ends - _first_key(rows)) :]
        total[..., -1] = _products(factors[:, :, -1], last).sum(-1, dtype=torch.float64)
        return total

    def _diagonals(self, rows: Rows) -> Iterator[_Diagonals]:
        """Yield the diagonals of the keys among the first N of the text, then of the others."""
        if rows.visibility.slices is None:
            return
        queries, keys = rows.visibility.slices
        count = keys.stop - keys.start
        middle = min(max(self.ends - keys.start, 0), count)
        for part in (slice(0, middle), slice(middle, count)):
            if part.start < part.stop:
                first, last = keys.start + part.start - queries.stop + 1, keys.start + part.stop - queries.start
                offset = torch.arange(first, last, device=rows.raw.device)
                yield _Diagonals(part, *self._members(offset.abs(), part.start < middle))

    def _members(self, distance: torch.Tensor, first: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """Return whether keys at each distance are in each bin and in each end, where none is in `last`.

        first  whether the keys are among the first N of the text
        """
        nearest, farthest = distance.new_tensor(self.bins).T
        in_bins = (distance[:, None] >= nearest) & (distance[:, None] <= farthest)
        near, every = distance < self.ends, torch.ones_like(distance, dtype=torch.bool)
        in_ends = torch.stack([every & first, near, ~near & (not first), ~every], dim=1)
        return in_bins.double(), in_ends.double()

    def _borders(self, rows: Rows) -> tuple[torch.Tensor, torch.Tensor]:
        """Return start and stop position of the keys of each region, [batch, row, region].

        The regions are: the bins left of the query, the bins right of it, first, near, the rest left and right, last.
        """
        query = rows.query_positions[..., None]
        nearest, farthest = query.new_tensor(self.bins).T
        length = query.new_tensor(rows.key_lengths)[:, None, None].expand_as(query)
        zero, n = torch.zeros_like(query), self.ends
        right = (query + nearest).maximum(query + 1)
        start = [query - farthest, right, zero, query - n + 1, zero + n, (query + n).clamp_min(n), length - n]
        stop = [query - nearest + 1, query + farthest + 1, zero + n, query + n, query - n + 1, length, length]
        return torch.cat(start, dim=-1), torch.cat(stop, dim=-1)

    def _join_sides(self, sums: torch.Tensor) -> torch.Tensor:
        """Return the regions of `_borders` with those left and right of the query added."""
        bins = len(self.bins)
        left, right, first, near, rest_left, rest_right, last = torch.split(sums, [bins, bins, 1, 1, 1, 1, 1], dim=-1)
        return torch.cat([left + right, first, near, rest_left + rest_right, last], dim=-1)


def _first_key(rows: Rows) -> int:
    """Return the position of the first key of a block without gaps between its keys."""
    assert rows.visibility.slices is not None
    first: int = rows.visibility.slices[1].start
    return first


def _sums_between(values: torch.Tensor, start: torch.Tensor, stop: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    """Return sums of [batch, head, row, key] over keys start <= position < stop: [batch, head, row, region] float64.

    Key positions ascend, some may be missing; values on padding are 0 in every row that counts.
    """
    cumulative = values.cumsum(-1) if values.is_floating_point() else values.cumsum(-1, dtype=torch.int32)
    ascending = keys.cummax(-1).values.contiguous()

    def sum_below(border: torch.Tensor) -> torch.Tensor:
        count = torch.searchsorted(ascending, border.flatten(1)).view(border.shape)[:, None]
        sums = cumulative.gather(-1, (count - 1).clamp_min(0).expand(-1, values.shape[1], -1, -1)).double()
        return sums.masked_fill_(count == 0, 0)

    return sum_below(stop.maximum(start)) - sum_below(start)
