"""Sums of rows that several metrics share: computed once per block, exact and cheap.

Distances are summed in two parts. Keys before all rows of the block ("before") need only Σ_j r_ij and Σ_j r_ij j, a
matrix-vector product; the other keys ("rest") are summed weight by weight. r_ij are the raw weights, A_ij = c_i r_ij.
"""

from collections.abc import Callable
from functools import wraps
from typing import TypeVar

import torch

from attncli.data import MAX_OFFSET, MIN_QUERIES, MIN_SHARE, Columns, Kind, Rows, RowSums, Visibility

Tensor = torch.Tensor
T = TypeVar("T")
Owner = TypeVar("Owner", Rows, Visibility)
Values = TypeVar("Values", Rows | RowSums, Columns)
AnyRows = Rows | RowSums
SELF_ATTENTION: tuple[Kind, ...] = ("encoder", "decoder")
LOCAL_WINDOW = 2
"""Largest distance in tokens that `local_mass` counts."""
_CHUNK = 128
_TIE = 1e-6


def cached(compute: Callable[[Owner], T]) -> Callable[[Owner | RowSums], T]:
    """Return `compute` with one result per block, or per visibility, which the blocks of all heads share.

    For `RowSums` it returns the result collected from all blocks, which the metric must have declared.
    """

    def lookup(owner: Owner | RowSums) -> T:
        if lookup not in owner.cache:
            assert not isinstance(owner, RowSums), f"{compute.__name__} is missing in the needs of the metric"
            owner.cache[lookup] = compute(owner)
        result: T = owner.cache[lookup]
        return result

    return wraps(compute)(lookup)


def kept(compute: Callable[[Values], T]) -> Callable[[Values], T]:
    """Return `compute` with one result for each of its arguments, which several metrics of a layer share."""

    def lookup(values: Values) -> T:
        if lookup not in values.cache:
            values.cache[lookup] = compute(values)
        result: T = values.cache[lookup]
        return result

    return wraps(compute)(lookup)


def chunked_sum(terms: Tensor) -> Tensor:
    """Return the float64 sum over the last axis: chunks of 128 in the precision of the terms, then the chunk sums.

    The error is below 2e-7 of the sum of |terms|. A plain float64 sum first copies the block, at many times the cost.
    """
    chunks, rest = divmod(terms.shape[-1], _CHUNK)
    of_chunks = terms[..., : chunks * _CHUNK].reshape(*terms.shape[:-1], chunks, _CHUNK).sum(-1)
    total = of_chunks.sum(-1, dtype=torch.float64)
    return total + terms[..., chunks * _CHUNK :].sum(-1, dtype=torch.float64) if rest else total


def where_defined(defined: Tensor, values: Tensor) -> Tensor:
    """Return the values in float64, NaN where they are not defined."""
    return torch.where(defined, values.double(), torch.nan)


@cached
def sum_before(rows: Rows) -> Tensor:
    """Return Σ_j r_ij over the keys before all rows of the block: [batch, head, row]."""
    return chunked_sum(rows.raw[..., : rows.visibility.keys_before]) if rows.sums is None else rows.sums.before


@cached
def sum_rest(rows: Rows) -> Tensor:
    """Return Σ_j r_ij over the other keys: [batch, head, row]."""
    return chunked_sum(rows.raw[..., rows.visibility.keys_before :]) if rows.sums is None else rows.sums.rest


@kept
def raw_sum(rows: AnyRows) -> Tensor:
    """Return Σ_j r_ij: [batch, head, row] float64."""
    return sum_before(rows).double() + sum_rest(rows)


@cached
def raw_log_sum(rows: Rows) -> Tensor:
    """Return Σ_j r_ij ln r_ij with 0 ln 0 = 0: [batch, head, row].

    The scores, if known, are the logarithms, which saves taking the logarithm of every weight.
    """
    if rows.sums is not None and rows.sums.log is not None:
        return rows.sums.log
    if rows.scores is None:
        smallest = torch.finfo(rows.raw.dtype).tiny
        return chunked_sum(rows.raw.clamp_min(smallest).log_().mul_(rows.raw))
    return _row_products(rows.raw, rows.scores)


def _row_products(left: Tensor, right: Tensor) -> Tensor:
    """Return the sum of products over the last axis without storing the products.

    It takes the diagonals of matrix products of a few rows each. For single rows torch starts one product per row, up
    to five times slower; with more rows, more of the product is off the diagonal and wasted.
    """
    shape, count = left.shape[:-1], left.shape[:-1].numel()
    group = next(size for size in (4, 2, 3, 5, 7, count) if count % size == 0)
    left, right = (part.reshape(-1, group, part.shape[-1]) for part in (left, right))
    return torch.bmm(left, right.transpose(1, 2)).diagonal(0, 1, 2).reshape(shape)


ROW_SUMS = (sum_before, sum_rest)
ENTROPY_SUMS = (*ROW_SUMS, raw_log_sum)


@kept
def row_entropy(rows: AnyRows) -> Tensor:
    """Return -Σ_j A_ij ln A_ij in nats, with 0 ln 0 = 0: [batch, head, row].

    With A_ij = c r_ij this is -c (ln c Σ_j r_ij + Σ_j r_ij ln r_ij). For streamed weights neither c nor any r_ij is
    above 1: no part is positive, so nothing cancels.
    """
    c = rows.factor.double()
    return 0.0 - c * (c.log() * raw_sum(rows) + raw_log_sum(rows))


@cached
def largest_weight(rows: Rows) -> Tensor:
    """Return max_j A_ij: [batch, head, row]."""
    return rows.scaled(rows.raw.amax(-1)) if rows.largest is None or rows.scale is None else rows.scale


@kept
def mean_distance(rows: AnyRows) -> Tensor:
    """Return Σ_j A_ij |i-j| / Σ_j A_ij: [batch, head, row]."""
    return (distance_sum_rest(rows) + distance_sum_before(rows)) / raw_sum(rows)


@kept
def distance_sum_before(rows: AnyRows) -> Tensor:
    """Return Σ_j r_ij (i-j) over the keys before all rows of the block.

    Positions count back from the first row: all terms then have one sign and nothing cancels.
    """
    return row_steps(rows.visibility) * sum_before(rows) + first_row_distance_sum(rows)


@cached
def row_steps(visibility: Visibility) -> Tensor:
    """Return the distance of each row from the first row of its block: [batch, 1, row] float64."""
    return (visibility.query_positions - visibility.query_positions[:, :1])[:, None].double()


@cached
def first_row_distance_sum(rows: Rows) -> Tensor:
    """Return Σ_j r_ij (f-j) over the keys before all rows of the block, f the first row: [batch, head, row]."""
    if not rows.visibility.keys_before or _has_offsets(rows):  # then the sums over the rest are those over all keys
        return torch.zeros_like(rows.factor)
    return weighted_sum(rows.raw, _first_row_distance(rows.visibility))


@cached
def offset_sum_rest(rows: Rows) -> Tensor:
    """Return Σ_j r_ij (j-i) over the other keys: [batch, head, row]."""
    if rows.sums is not None and rows.sums.offset is not None:
        return rows.sums.offset
    return _sum_rest_times(rows, _offset_rest(rows.visibility))


@cached
def distance_sum_rest(rows: Rows) -> Tensor:
    """Return Σ_j r_ij |j-i| over the other keys: [batch, head, row]."""
    if rows.sums is not None and rows.sums.distance is not None:
        return rows.sums.distance
    if not rows.visibility.sees_ahead:
        return -offset_sum_rest(rows)
    return _sum_rest_times(rows, _offset_rest(rows.visibility).abs())


def _has_offsets(rows: Rows) -> bool:
    return rows.sums is not None and rows.sums.offset is not None


def _sum_rest_times(rows: Rows, factors: Tensor) -> Tensor:
    # the dtype is that of `raw`: torch is slow at stacking tensors of several dtypes
    rest = rows.raw[..., rows.visibility.keys_before :]
    return chunked_sum(rest * factors.to(rest.dtype)).to(rest.dtype)


OFFSET_SUMS = (*ROW_SUMS, first_row_distance_sum, offset_sum_rest)
DISTANCE_SUMS = (*ROW_SUMS, first_row_distance_sum, distance_sum_rest)


@cached
def uniform_distance(visibility: Visibility) -> Tensor:
    """Return the mean of |i-j| over the visible keys of each row: [batch, 1 or head, row]."""
    before, steps = visibility.keys_before, row_steps(visibility)
    total = chunked_sum(visibility.visible_pairs[..., before:] * _offset_rest(visibility).abs())
    if before:
        distance = _first_row_distance(visibility)
        if visibility.common_keys[0] == 0 and visibility.common_keys[1] >= before:
            total = total + steps * before + distance.sum(-1, dtype=torch.float64)[:, None, None]
        else:
            visible = visibility.visible_pairs[..., :before]
            total = total + steps * visible.sum(-1) + weighted_sum(visible.float(), distance[:, :before])
    return total / visibility.visible_count


@cached
def _first_row_distance(visibility: Visibility) -> Tensor:
    """Return the distance from the first row to each key before all rows: [batch, key], 0 for other keys."""
    distance = (visibility.query_positions[:, :1] - visibility.key_positions).float()
    distance[:, visibility.keys_before :] = 0
    return distance


@cached
def _offset_rest(visibility: Visibility) -> Tensor:
    """Return j-i for the keys that are not before all rows: [batch, 1, row, key] float32."""
    keys = visibility.key_positions[:, None, None, visibility.keys_before :]
    return (keys - visibility.query_positions[:, None, :, None]).float()


def weighted_sum(weights: Tensor, values: Tensor) -> Tensor:
    """Return Σ_j A_ij v_j for values [batch, key], in the precision of the weights: [batch, head, row]."""
    values = values.to(weights.dtype)
    if len(values) == 1:
        return torch.mv(weights.flatten(0, 2), values[0]).view(weights.shape[:3])
    return torch.einsum("bhrk,bk->bhr", weights, values)


def weight_at_offset(rows: AnyRows, offset: int) -> Tensor:
    """Return A_i,i+offset: [batch, head, row], NaN where that key does not exist or is masked."""
    weights, visible = rows.near
    return where_defined(visible[..., MAX_OFFSET + offset], weights[..., MAX_OFFSET + offset])


def _largest_mean(total: Tensor, count: Tensor, least: Tensor) -> tuple[Tensor, Tensor]:
    """Return the largest total / count over the last axis and its index, NaN if there is none.

    Only means over at least `least` rows compete. The first of values that differ by less than a millionth wins, so
    that rounding does not choose.
    """
    mean = torch.where(count >= least[..., None], total / count, -torch.inf)
    best = mean.amax(-1)
    first = (mean >= (best * (1 - _TIE))[..., None]).int().argmax(-1)
    exists = best > -torch.inf
    return where_defined(exists, best), where_defined(exists, first)


@kept
def strongest_key(columns: Columns) -> tuple[Tensor, Tensor]:
    """Return the most attention that any key receives, and the position of this key: [batch, head] each."""
    rows = columns.rows
    return _largest_mean(columns.mass, columns.visible_rows, rows.minimum((rows * MIN_SHARE).clamp_min(MIN_QUERIES)))


@kept
def strongest_offset(columns: Columns) -> tuple[Tensor, Tensor]:
    """Return the largest mean weight of any diagonal, and its offset: [batch, head] each.

    Of equal diagonals the one nearest to offset 0 wins.
    """
    offsets = sorted(range(-MAX_OFFSET, MAX_OFFSET + 1), key=lambda offset: (abs(offset), offset))
    order = [MAX_OFFSET + offset for offset in offsets]
    least = columns.rows.clamp_max(MIN_QUERIES)
    best, index = _largest_mean(columns.offset_mass[..., order], columns.offset_rows[..., order], least)
    return best, where_defined(~best.isnan(), best.new_tensor(offsets)[index.nan_to_num().long()])
