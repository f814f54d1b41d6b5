"""How far a row of cross-attention is from a monotone alignment."""

from __future__ import annotations

import torch

from attncli.data import Rows, RowSums
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
    way_queries = _share_of_way(rows.query_positions, rows.query_lengths)
    way_keys = _share_of_way(rows.key_positions, rows.key_lengths)
    apart = (way_queries[:, None, :, None] - way_keys[:, None, None, :]).abs().to(rows.raw.dtype)
    several = [n > 1 and m > 1 for n, m in zip(rows.query_lengths, rows.key_lengths, strict=True)]
    defined = torch.tensor(several, device=apart.device)[:, None, None]
    return where_defined(defined, rows.scaled(total(rows.raw * apart)))


def _share_of_way(positions: torch.Tensor, lengths: tuple[int, ...]) -> torch.Tensor:
    last = torch.tensor(lengths, device=positions.device, dtype=torch.float64) - 1
    return positions / last.clamp_min(1)[:, None]


METRIC = row_metric(
    alignment_distance,
    unit="1",
    range=(0.0, 1.0),
    source="after Tachibana et al. 2017",
    kinds=("cross",),
    needs=(_apart,),
)
