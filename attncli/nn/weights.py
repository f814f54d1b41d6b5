"""Attention weights and what they read, as plain functions of queries, keys and values."""

from __future__ import annotations

import torch
from torch.nn import functional


def attention_weights(query: torch.Tensor, key: torch.Tensor, visible: torch.Tensor | None) -> torch.Tensor:
    """Return softmax(query key^T / √size) over the visible keys: [batch, head, query, key], at least float32.

    Rows without a visible key are 0.
    """
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    precise = torch.promote_types(scores.dtype, torch.float32)
    if visible is None:
        return torch.softmax(scores, -1, dtype=precise)
    # not -inf, which would make rows without a visible key NaN, and their gradients
    weights = torch.softmax(scores.masked_fill(~visible, torch.finfo(scores.dtype).min), -1, dtype=precise)
    return weights.masked_fill(~visible, 0.0)


def fused_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, visible: torch.Tensor | None, dropout: float
) -> torch.Tensor:
    """Return what the weights read from the values, by the fused kernel of torch, which keeps no weights."""
    if visible is None:
        return functional.scaled_dot_product_attention(query, key, value, dropout_p=dropout)
    some = visible.any(-1, keepdim=True)
    read = functional.scaled_dot_product_attention(query, key, value, attn_mask=visible | ~some, dropout_p=dropout)
    return read.masked_fill(~some, 0.0)
