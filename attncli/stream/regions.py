"""The attention to each region of the text, computed from one cumulative sum per block."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from attncli.data import Rows

ENDS = ("first", "near", "rest", "last")
SELF_ONLY = ("near", "rest")
"""Regions that need queries and keys to be positions in the same text."""


@dataclass(frozen=True)
class Regions:
    """Regions of keys, relative to the query or fixed in the text.

    bins  (from, to) distances |i-j|: 0, 1, 2-3, 4-7, 8-15, … up to the longest distance in texts of `longest` tokens
    ends  N: first, the keys 0 … N-1; near, |i-j| < N, for causal rows the window of recent keys; rest, neither
          first nor near; last, the last N keys of the text
    """

    longest: int
    ends: int

    @property
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
        start, stop = self._borders(rows)
        mass = self._join_sides(_sums_between(rows.weights, start, stop, rows.key_positions))
        visible = self._join_sides(_sums_between(rows.visible_pairs, start, stop, rows.key_positions))
        in_bins, in_ends = rows.real, rows.real & (rows.visible_count > self.ends)
        regions = ((in_bins, len(self.bins)), (in_ends, len(ENDS)))
        counts = torch.cat([row[..., None].expand(*row.shape, size) for row, size in regions], dim=-1).double()
        uniform = visible / rows.visible_count.clamp_min(1)[..., None]
        sums = {"mass": mass * counts, "uniform": uniform * counts, "count": counts}
        return {name: values.sum(2).expand(-1, rows.weights.shape[1], -1) for name, values in sums.items()}

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
