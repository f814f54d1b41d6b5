"""Sums of a block along its diagonals, without a copy of the block."""

from __future__ import annotations

import torch

Tensor = torch.Tensor


def diagonal_sums(values: Tensor, weights: Tensor) -> Tensor:
    """Return Σ_i w_i v_i,i+o for every offset o: [batch, head, n, offset], from o = 1 - rows to o = keys - 1.

    values   [batch, head, row, key], its keys neighbours in memory
    weights  [batch, head, n, row] n sets of w, in the precision of the values
    """
    rows, keys = values.shape[2:]
    if keys < 2 * rows:
        return _sheared_sums(values, weights)
    # a view whose rows start one key later each: diagonals that reach from the first row to the last are its columns
    steps = values.stride()
    shape = (*values.shape[:2], rows, keys - rows + 1)
    full = values.as_strided(shape, (*steps[:2], steps[2] + 1, 1))
    first, last = (_sheared_sums(part, weights) for part in (values[..., :rows], values[..., -rows:]))
    return torch.cat([first[..., : rows - 1], _products(weights, full), last[..., rows:]], dim=-1)


def _sheared_sums(values: Tensor, weights: Tensor) -> Tensor:
    """Return `diagonal_sums` of a small block, from a copy whose rows start one key earlier each."""
    rows, keys = values.shape[2:]
    width = rows + keys - 1
    copy = values.new_zeros((*values.shape[:2], rows, width))
    sheared = copy.as_strided(values.shape, (*copy.stride()[:2], width - 1, 1), rows - 1)
    sheared.copy_(values)
    return _products(weights, copy)


def _products(weights: Tensor, values: Tensor) -> Tensor:
    return torch.bmm(weights.flatten(0, 1), values.flatten(0, 1)).view(*weights.shape[:3], -1)
