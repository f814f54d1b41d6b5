"""What several metrics need of the same block, worked out once; sums that are exact and cheap."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TypeVar, TypeVarTuple

import torch

from attncli.data import Columns, Kind, Rows

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
SELF: tuple[Kind, ...] = ("encoder", "decoder")
LOCAL = 2
"""How many tokens away is still near."""
RUN = 128
FEW = 5
TIE = 1e-6


def once(work: Callable[[Rows, *Ts], T]) -> Callable[[Rows, *Ts], T]:
    """`work`, done at most once for each block and further arguments: the result lives as long as the block."""

    @wraps(work)
    def remembered(rows: Rows, *args: *Ts) -> T:
        memory = rows.__dict__.setdefault("_remembered", {})
        key = (work, args)
        if key not in memory:
            memory[key] = work(rows, *args)
        result: T = memory[key]
        return result

    return remembered


def total(terms: torch.Tensor) -> torch.Tensor:
    """The sum over the last axis, float64: runs of 128 in the terms' own precision, then the runs in float64.

    Off by less than 2e-7 of the sum of |terms|. Torch would copy the block to float64 first, at four times the cost.
    """
    whole = terms.shape[-1] - terms.shape[-1] % RUN
    rest = terms[..., whole:].sum(-1, dtype=torch.float64)
    if not whole:
        return rest
    runs = terms[..., :whole].reshape(*terms.shape[:-1], -1, RUN)
    return runs.sum(-1).sum(-1, dtype=torch.float64) + rest


def where_defined(defined: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """The values in float64, NaN where they are not defined."""
    return torch.where(defined, values.double(), torch.nan)


@once
def row_sum(rows: Rows) -> torch.Tensor:
    """Σ_j A_ij: [batch, head, row]."""
    return total(rows.weights)


@once
def nats(rows: Rows) -> torch.Tensor:
    """-Σ_j A_ij ln A_ij, with 0 ln 0 = 0: [batch, head, row]."""
    smallest = torch.finfo(rows.weights.dtype).tiny
    return 0.0 - total(rows.weights.clamp_min(smallest).log_().mul_(rows.weights))


@once
def offsets(rows: Rows) -> torch.Tensor:
    """j - i for each row and key, in the precision of the weights: [batch, 1, row, key]."""
    queries, keys = (at.to(rows.weights.dtype) for at in (rows.query_positions, rows.key_positions))
    return keys[:, None, None, :] - queries[:, None, :, None]


@once
def distances(rows: Rows) -> torch.Tensor:
    """|i - j| for each row and key: [batch, 1, row, key]."""
    return offsets(rows).abs()


@once
def mean_distance(rows: Rows) -> torch.Tensor:
    """Σ_j A_ij |i-j| / Σ_j A_ij: [batch, head, row]."""
    return total(rows.weights * distances(rows)) / row_sum(rows)


@once
def around(rows: Rows, window: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The weights on the keys from `window` back to `window` ahead, and which of these exist and are visible."""
    steps = torch.arange(-window, window + 1, device=rows.query_positions.device)
    return rows.at(rows.query_positions[..., None] + steps)


def mass_at(rows: Rows, offset: int) -> torch.Tensor:
    """A_i,i+offset, NaN where there is no such key or the row may not see it: [batch, head, row]."""
    weights, visible = around(rows, LOCAL)
    return where_defined(visible[..., LOCAL + offset], weights[..., LOCAL + offset])


def strongest(mean: torch.Tensor, seen: torch.Tensor, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The largest mean over the last axis and its place, among those that at least 5 rows (or all) have.

    Of values that differ by less than a millionth the first wins, so that rounding does not choose. NaN where
    there is none.
    """
    mean = torch.where(seen >= rows.clamp_max(FEW)[..., None], mean, -torch.inf)
    best = mean.amax(-1)
    first = (mean >= (best * (1 - TIE))[..., None]).int().argmax(-1)
    exists = best > -torch.inf
    return where_defined(exists, best), where_defined(exists, first)


def strongest_key(columns: Columns) -> tuple[torch.Tensor, torch.Tensor]:
    """The most received attention of any key, and the position of that key: [batch, head] each."""
    return strongest(columns.mass / columns.seen, columns.seen, columns.rows)


def strongest_offset(columns: Columns) -> tuple[torch.Tensor, torch.Tensor]:
    """The largest mean weight of any diagonal, and its offset (of equals the nearest to 0): [batch, head] each."""
    nearest = sorted(columns.offsets, key=lambda offset: (abs(offset), offset))
    order = [columns.offsets.index(offset) for offset in nearest]
    mass, seen = columns.offset_mass[..., order], columns.offset_seen[..., order]
    best, place = strongest(mass / seen, seen, columns.rows)
    chosen = best.new_tensor(nearest)[place.nan_to_num().long()]
    return best, where_defined(~best.isnan(), chosen)
