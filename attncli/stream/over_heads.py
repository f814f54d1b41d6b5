"""The weights of the heads of a block combined into one, without a copy of all of them."""

from __future__ import annotations

import torch

from attncli.data import Rows

Tensor = torch.Tensor
_HEADS = 4
"""Heads that are summed in the precision of the weights, before their sum is added in float64."""


def sum_of_heads(rows: Rows, shares: Tensor | None = None) -> Tensor:
    """Return Σ_h s_h A_hij over the heads of a block, 0 in rows without a visible key: [batch, 1, row, key] float64.

    shares  [head] s_h; 1 by default
    """
    factors = _factors(rows)
    factors = factors if shares is None else factors * shares.to(factors.dtype)[:, None]
    heads = range(rows.raw.shape[1])
    total = None
    for first in heads[::_HEADS]:
        sums = rows.raw[:, first] * factors[:, first, :, None]
        for head in heads[first + 1 : first + _HEADS]:
            sums.addcmul_(rows.raw[:, head], factors[:, head, :, None])
        total = sums.double() if total is None else total.add_(sums)
    assert total is not None  # a block has a head
    return total[:, None]


def largest_of_heads(rows: Rows) -> Tensor:
    """Return max_h A_hij over the heads of a block, 0 in rows without a visible key: [batch, 1, row, key]."""
    factors = _factors(rows)
    # weights are never negative, so that 0 leaves any maximum as it is
    largest = rows.raw[:, 0] * factors[:, 0, :, None]
    of_head = torch.empty_like(largest)
    for head in range(1, rows.raw.shape[1]):
        torch.mul(rows.raw[:, head], factors[:, head, :, None], out=of_head)
        torch.maximum(largest, of_head, out=largest)
    return largest[:, None]


def _factors(rows: Rows) -> Tensor:
    """Return the factor from `raw` to weights, 0 in rows without a visible key: [batch, head, row]."""
    real = rows.visibility.real_factor
    return rows.factor if real is None else rows.factor * real.to(rows.factor.dtype)
