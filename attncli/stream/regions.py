"""How much of each row lies in which region of the text: at a distance, at its ends. One cumulative sum per block."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from attncli.data import Rows

ENDS = ("first", "near", "rest", "last")
SELF_ONLY = ("near", "rest")
"""Those that need queries and keys to count the same text."""


@dataclass(frozen=True)
class Regions:
    """Regions of keys, relative to the query or fixed in the text.

    bins  (from, to) distances |i-j|: 0, 1, 2-3, 4-7, 8-15, … as far as texts of `longest` tokens reach
    ends  N: first, the keys 0 … N-1; near, |i-j| < N, which for causal rows is the window of recent keys; rest,
          neither first nor near; last, the last N keys of the text
    """

    longest: int
    ends: int

    @property
    def bins(self) -> tuple[tuple[int, int], ...]:
        starts = [0, *(1 << power for power in range(max(0, self.longest - 1).bit_length()))]
        return tuple((start, max(0, 2 * start - 1)) for start in starts)

    def sums(self, rows: Rows) -> dict[str, torch.Tensor]:
        """Sums over the rows of a block, [batch, head, region] float64, first the bins, then the ends.

        mass     Σ_i Σ_{j in region} A_ij over the rows that count
        uniform  the same of 1/|S_i| on each visible key
        count    how many rows count: all real ones for distances, those that see more than N keys for the ends
        """
        low, high = self._borders(rows)
        mass = self._combined(_between(rows.weights, low, high, rows.key_positions))
        visible = self._combined(_between(rows.seen, low, high, rows.key_positions))
        choice = rows.real & (rows.visible_count > self.ends)
        counts = torch.cat(
            [
                rows.real[..., None].expand(*rows.real.shape, len(self.bins)),
                choice[..., None].expand(*choice.shape, len(ENDS)),
            ],
            dim=-1,
        ).double()
        uniform = visible / rows.visible_count.clamp_min(1)[..., None]
        found = {"mass": mass * counts, "uniform": uniform * counts, "count": counts}
        heads = rows.weights.shape[1]
        return {name: each.sum(2).expand(-1, heads, -1) for name, each in found.items()}

    def _borders(self, rows: Rows) -> tuple[torch.Tensor, torch.Tensor]:
        """First key and the one behind the last of each region, [batch, row, region].

        The bins to the left of the query, those to its right, first, near, the rest left and right, last.
        """
        at = rows.query_positions[..., None]
        near, far = at.new_tensor(self.bins).T
        length = at.new_tensor(rows.key_lengths)[:, None, None].expand_as(at)
        zero, n = torch.zeros_like(at), self.ends
        low = [at - far, (at + near).maximum(at + 1), zero, at - n + 1, zero + n, (at + n).clamp_min(n), length - n]
        high = [at - near + 1, at + far + 1, zero + n, at + n, at - n + 1, length, length]
        return torch.cat(low, dim=-1), torch.cat(high, dim=-1)

    def _combined(self, sides: torch.Tensor) -> torch.Tensor:
        """Left and right of the query together."""
        bins = len(self.bins)
        left, right, first, near, before, behind, last = torch.split(sides, [bins, bins, 1, 1, 1, 1, 1], dim=-1)
        return torch.cat([left + right, first, near, before + behind, last], dim=-1)


def _between(values: torch.Tensor, low: torch.Tensor, high: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    """Sums of [batch, head, row, key] over the keys low <= position < high: [batch, head, row, region] float64.

    Key positions ascend, some may be missing; what stands on padding is 0 in every row that counts.
    """
    summed = values.cumsum(-1) if values.is_floating_point() else values.cumsum(-1, dtype=torch.int32)
    ascending = keys.cummax(-1).values.contiguous()

    def up_to(border: torch.Tensor) -> torch.Tensor:
        behind = torch.searchsorted(ascending, border.flatten(1)).view(border.shape)[:, None]
        found = summed.gather(-1, (behind - 1).clamp_min(0).expand(-1, values.shape[1], -1, -1)).double()
        return found.masked_fill_(behind == 0, 0)

    return up_to(high.maximum(low)) - up_to(low)
