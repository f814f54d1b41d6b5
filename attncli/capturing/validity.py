"""Checks whether tensors are attention weights; a tensor that fails never reaches a sink."""

from __future__ import annotations

import torch

TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-4, torch.bfloat16: 1e-2, torch.float16: 4e-3}
"""How far above 1 a row may sum, by the dtype that the model computes in."""


def weights_problem(weights: torch.Tensor, real: torch.Tensor, dtype: torch.dtype) -> str | None:
    """Return why a tensor cannot hold attention weights; None if it can.

    weights  [batch, head, row, key]
    real     [batch, row] bool: False for rows of padding
    """
    rows = weights.masked_fill(~real[:, None, :, None], 0)
    total = rows.sum(-1, dtype=torch.float64)
    if not bool(torch.isfinite(total).all()):
        return "its weights are not finite"
    if float(rows.min()) < -TOLERANCE[dtype]:
        return f"its values go down to {float(rows.min()):.3g}: they are not softmax weights"
    if float(total.max()) > 1 + TOLERANCE[dtype]:
        return f"its rows sum to up to {float(total.max()):.4g} instead of 1: they are not softmax weights"
    if float(total.max()) <= TOLERANCE[dtype]:
        return "its rows sum to 0"
    return None


def visible_by_scores(scores: torch.Tensor) -> torch.Tensor:
    """Return which keys are visible, judged by scores before a softmax: bool of the same shape.

    Masks add the lowest number of the dtype, -inf or (older models) -10,000; scores of visible keys differ by far less.
    """
    lowest = scores.amin(-1, keepdim=True)
    top = scores.amax(-1, keepdim=True)
    extreme = scores > torch.finfo(scores.dtype).min / 4 if scores.dtype == torch.float16 else scores > -1e8
    return torch.where(lowest < -1e8, extreme, scores > top - 5000.0)
