"""What several metrics need of the same block, worked out once; sums that are exact and cheap."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TypeVar

import torch

from attncli.data import NEAR, Columns, Kind, Rows, RowSums, Visibility

T = TypeVar("T")
Owner = TypeVar("Owner", Rows, Visibility)
SELF: tuple[Kind, ...] = ("encoder", "decoder")
RUN = 128
LOCAL = 2
"""How many tokens away is still near."""
FEW = 5
TIE = 1e-6


def once(work: Callable[[Owner], T]) -> Callable[[Owner | RowSums], T]:
    """`work`, done at most once for each block, or once for the visibility that the blocks of all heads share.

    Of `RowSums` it is what was put down of all blocks.
    """

    def remembered(owner: Owner | RowSums) -> T:
        if remembered not in owner.memory:
            assert not isinstance(owner, RowSums), f"{work.__name__} is not among what the metric needs"
            owner.memory[remembered] = work(owner)
        result: T = owner.memory[remembered]
        return result

    return wraps(work)(remembered)


def total(terms: torch.Tensor) -> torch.Tensor:
    """The sum over the last axis, float64: runs of 128 in the terms' own precision, then the runs in float64.

    Off by less than 2e-7 of the sum of |terms|. Torch would copy the block to float64 first, at many times the cost.
    """
    runs, rest = divmod(terms.shape[-1], RUN)
    whole = terms[..., : runs * RUN].reshape(*terms.shape[:-1], runs, RUN).sum(-1).sum(-1, dtype=torch.float64)
    return whole + terms[..., runs * RUN :].sum(-1, dtype=torch.float64) if rest else whole


def where_defined(defined: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """The values in float64, NaN where they are not defined."""
    return torch.where(defined, values.double(), torch.nan)


@once
def behind_sum(rows: Rows) -> torch.Tensor:
    """The sum of each row before it is scaled over the keys behind all rows of its block: [batch, head, row]."""
    return total(rows.raw[..., : rows.visibility.behind]) if rows.sums is None else rows.sums[0]


@once
def beside_sum(rows: Rows) -> torch.Tensor:
    """The same over all other keys."""
    return total(rows.raw[..., rows.visibility.behind :]) if rows.sums is None else rows.sums[1]


def raw_sum(rows: Rows | RowSums) -> torch.Tensor:
    """The sum of each row before it is scaled: [batch, head, row] float64."""
    return behind_sum(rows).double() + beside_sum(rows)


@once
def score_sum(rows: Rows) -> torch.Tensor:
    """Σ_j r_ij ln r_ij of the rows before they are scaled, r_ij, with 0 ln 0 = 0: [batch, head, row].

    Where the scores are there they are the logarithms, which are then not taken of each weight again.
    """
    if rows.scores is None:
        smallest = torch.finfo(rows.raw.dtype).tiny
        return total(rows.raw.clamp_min(smallest).log_().mul_(rows.raw))
    return _products(rows.raw, rows.scores)


def _products(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """The sum of products over the last axis, of which nothing is kept.

    As the diagonals of matrix products of a few rows each: for single rows torch calls a product of its own each, at up
    to five times the cost; more rows waste more on what is not on the diagonal.
    """
    shape, count = left.shape[:-1], left.shape[:-1].numel()
    some = next(some for some in (4, 2, 3, 5, 7, count) if count % some == 0)
    left, right = (part.reshape(-1, some, part.shape[-1]) for part in (left, right))
    return torch.bmm(left, right.transpose(1, 2)).diagonal(0, 1, 2).reshape(shape)


SUMS = (behind_sum, beside_sum)
NEEDS_NATS = (*SUMS, score_sum)


def row_sum(rows: Rows | RowSums) -> torch.Tensor:
    """Σ_j A_ij: [batch, head, row]."""
    return rows.factor * raw_sum(rows)


def nats(rows: Rows | RowSums) -> torch.Tensor:
    """-Σ_j A_ij ln A_ij, with 0 ln 0 = 0: [batch, head, row].

    With A_ij = c r_ij this is -c (ln c Σ_j r_ij + Σ_j r_ij ln r_ij). Where we compute the weights, neither c nor any
    r_ij is above 1: neither part is positive, and nothing cancels.
    """
    c = rows.factor.double()
    return 0.0 - c * (c.log() * raw_sum(rows) + score_sum(rows))


@once
def largest(rows: Rows) -> torch.Tensor:
    """max_j A_ij: [batch, head, row]."""
    return rows.raw.amax(-1) if rows.scale is None else rows.scale


def mean_offset(rows: Rows | RowSums) -> torch.Tensor:
    """Σ_j A_ij (j-i) / Σ_j A_ij: [batch, head, row]."""
    return signed_sum(rows) / raw_sum(rows)


def mean_distance(rows: Rows | RowSums) -> torch.Tensor:
    """Σ_j A_ij |i-j| / Σ_j A_ij: [batch, head, row]."""
    return absolute_sum(rows) / raw_sum(rows)


def signed_sum(rows: Rows | RowSums) -> torch.Tensor:
    """Σ_j r_ij (j-i) of the rows before they are scaled: [batch, head, row] float64."""
    return signed_beside(rows) - _apart_behind(rows)


def absolute_sum(rows: Rows | RowSums) -> torch.Tensor:
    """Σ_j r_ij |i-j| of the rows before they are scaled: [batch, head, row] float64."""
    return absolute_beside(rows) + _apart_behind(rows)


def _apart_behind(rows: Rows | RowSums) -> torch.Tensor:
    """Σ_j r_ij (i-j) over the keys behind all rows of the block.

    By Σ_j r_ij j, a matrix x vector that costs a third of going weight by weight: positions are counted back from the
    first row, so that all terms have one sign and nothing cancels.
    """
    return steps(rows.visibility) * behind_sum(rows) + back_sum(rows)


@once
def steps(visibility: Visibility) -> torch.Tensor:
    """How far each row is from the first of its block: [batch, 1, row] float64."""
    return (visibility.query_positions - visibility.query_positions[:, :1])[:, None].double()


@once
def back_sum(rows: Rows) -> torch.Tensor:
    """Σ_j r_ij (f-j) over the keys behind all rows of the block, of which the first is f: [batch, head, row]."""
    if not rows.visibility.behind:
        return torch.zeros_like(rows.factor)
    return against(rows.raw, _back(rows.visibility))


@once
def signed_beside(rows: Rows) -> torch.Tensor:
    """Σ_j r_ij (j-i) over all other keys: [batch, head, row], in the dtype of the rest: torch stacks several slowly."""
    return total(_beside(rows) * _offsets_beside(rows.visibility).to(rows.raw.dtype)).to(rows.raw.dtype)


@once
def absolute_beside(rows: Rows) -> torch.Tensor:
    """Σ_j r_ij |j-i| over all other keys: [batch, head, row]."""
    if not rows.visibility.ahead:
        return -signed_beside(rows)
    return total(_beside(rows) * _offsets_beside(rows.visibility).to(rows.raw.dtype).abs()).to(rows.raw.dtype)


def _beside(rows: Rows) -> torch.Tensor:
    return rows.raw[..., rows.visibility.behind :]


NEEDS_OFFSET = (*SUMS, back_sum, signed_beside)
NEEDS_DISTANCE = (*SUMS, back_sum, absolute_beside)


@once
def uniform_distance(visibility: Visibility) -> torch.Tensor:
    """The mean of |i-j| over the keys that each row may see: [batch, 1 or head, row]."""
    behind = visibility.behind
    apart = total(visibility.seen[..., behind:] * _offsets_beside(visibility).abs())
    if behind:
        if visibility.clear[0] == 0 and visibility.clear[1] >= behind:
            apart = apart + steps(visibility) * behind + _back(visibility).sum(-1, dtype=torch.float64)[:, None, None]
        else:
            seen = visibility.seen[..., :behind]
            apart = apart + steps(visibility) * seen.sum(-1) + against(seen.float(), _back(visibility)[:, :behind])
    return apart / visibility.visible_count


@once
def _back(visibility: Visibility) -> torch.Tensor:
    """How far before the first row the keys behind all rows stand; 0 for others: [batch, key]."""
    distance = (visibility.query_positions[:, :1] - visibility.key_positions).float()
    distance[:, visibility.behind :] = 0
    return distance


@once
def _offsets_beside(visibility: Visibility) -> torch.Tensor:
    """j-i for all other keys: [batch, 1, row, key] float32."""
    keys = visibility.key_positions[:, None, None, visibility.behind :]
    return (keys - visibility.query_positions[:, None, :, None]).float()


def against(weights: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Σ_j A_ij v_j for one value per key, [batch, key], summed as the weights are: [batch, head, row]."""
    values = values.to(weights.dtype)
    if len(values) == 1:
        return torch.mv(weights.flatten(0, 2), values[0]).view(weights.shape[:3])
    return torch.einsum("bhrk,bk->bhr", weights, values)


def mass_at(rows: Rows | RowSums, offset: int) -> torch.Tensor:
    """A_i,i+offset, NaN where there is no such key or the row may not see it: [batch, head, row]."""
    weights, visible = rows.near
    return where_defined(visible[..., NEAR + offset], weights[..., NEAR + offset])


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
