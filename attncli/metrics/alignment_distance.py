"""How far a row of cross-attention is from a monotone alignment."""

from __future__ import annotations

import torch

from attncli.data import Rows, RowSums, Visibility
from attncli.metrics._declare import row_metric
from attncli.metrics._shared import once, total, where_defined


def alignment_distance(rows: Rows | RowSums) -> torch.Tensor:
    """How far from the straight line between source and target does a target token look?

    Formula   Σ_j A_ij |i/(n-1) - j/(m-1)|, n queries and m keys
    Axes      weights [batch, head, row, key] → [batch, head, row]
    Unit      1, from 0 (at the same share of the way) to 1 (at the opposite end)
    Undefined for padding rows, in self-attention, and where n = 1 or m = 1
    Caveat    A straight line is the right answer only where both sides say the same in the same order at an even
              pace; special tokens at the ends count as positions.
    Source    monotone alignment, after the guided attention of Tachibana et al. 2017, whose n/N and t/T are our
              j/(m-1) and i/(n-1)

    Of 3 queries and 3 keys, row 1 that gives 1/2 to key 1 and 1/2 to key 2 has ½ · 0 + ½ · |1/2 - 1| = 0.25.
    """
    return where_defined(rows.real, _apart(rows))


@once
def _apart(rows: Rows) -> torch.Tensor:
    apart = _from_the_line(rows.visibility).to(rows.raw.dtype)
    return rows.scaled(total(rows.raw * apart))


@once
def _from_the_line(visibility: Visibility) -> torch.Tensor:
    """How far each key is from the line, NaN where a side has one token: [batch, 1, row, key]."""
    ways = (
        _share_of_way(visibility.query_positions, visibility.query_lengths),
        _share_of_way(visibility.key_positions, visibility.key_lengths),
    )
    return (ways[0][:, None, :, None] - ways[1][:, None, None, :]).abs()


def _share_of_way(positions: torch.Tensor, lengths: tuple[int, ...]) -> torch.Tensor:
    """0 for the first token, 1 for the last; texts of one token have no way to go."""
    if len(set(lengths)) == 1:  # no tensor has to be sent to the device
        return (
            positions / (lengths[0] - 1) if lengths[0] > 1 else torch.full_like(positions, torch.nan, dtype=torch.float)
        )
    last = torch.tensor(lengths, device=positions.device, dtype=torch.float64)[:, None] - 1
    return torch.where(last > 0, positions / last, torch.nan)


METRIC = row_metric(
    alignment_distance,
    unit="1",
    range=(0.0, 1.0),
    source="after Tachibana et al. 2017",
    kinds=("cross",),
    needs=(_apart,),
)
