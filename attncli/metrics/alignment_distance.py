import torch

from attncli.data import Metric, Rows, Visibility
from attncli.metrics._shared import AnyRows, cached, chunked_sum, where_defined


def alignment_distance(rows: AnyRows) -> torch.Tensor:
    """How far is the attention of a target token from the straight line between source and target?

    Formula   Σ_j A_ij |i/(n-1) - j/(m-1)|, n queries and m keys
    Axes      weights [batch, head, row, key] → [batch, head, row]
    Unit      1, from 0 (at the same relative position) to 1 (at the opposite end)
    Undefined for padding rows, in self-attention, and where n = 1 or m = 1
    Caveat    A straight line is right only where both sides say the same in the same order at a constant pace;
              special tokens at the ends count as positions.
    Source    monotone alignment, after the guided attention of Tachibana et al. 2017, whose n/N and t/T are our
              j/(m-1) and i/(n-1)

    Of 3 queries and 3 keys, row 1 with weights 1/2 on key 1 and 1/2 on key 2 has ½ · 0 + ½ · |1/2 - 1| = 0.25.
    """
    return where_defined(rows.real, _weighted_distance(rows))


@cached
def _weighted_distance(rows: Rows) -> torch.Tensor:
    distance = _distance_from_line(rows.visibility).to(rows.raw.dtype)
    return rows.scaled(chunked_sum(rows.raw * distance))


@cached
def _distance_from_line(visibility: Visibility) -> torch.Tensor:
    """Return the distance of each pair from the line: [batch, 1, row, key], NaN if a side has one token."""
    query = _relative_positions(visibility.query_positions, visibility.query_lengths)
    key = _relative_positions(visibility.key_positions, visibility.key_lengths)
    return (query[:, None, :, None] - key[:, None, None, :]).abs()


def _relative_positions(positions: torch.Tensor, lengths: tuple[int, ...]) -> torch.Tensor:
    """Return 0 for the first token of a text up to 1 for the last, NaN in texts of one token."""
    if len(set(lengths)) == 1:  # avoids sending a tensor to the device
        last_position = lengths[0] - 1
        return positions / last_position if last_position else torch.full_like(positions, torch.nan, dtype=torch.float)
    last = torch.tensor(lengths, device=positions.device, dtype=torch.float64)[:, None] - 1
    return torch.where(last > 0, positions / last, torch.nan)


METRIC = Metric(
    alignment_distance, "row", source="after Tachibana et al. 2017", kinds=("cross",), needs=(_weighted_distance,)
)
