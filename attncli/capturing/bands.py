"""Attention kept as bands or blocks of keys around each query, put back into rows over all tokens.

Models of long texts compute no more than the keys near a query. Two layouts are known:

band    [batch, query, head, 2 w + 1]: column c is the key at query - w + c (Longformer, LED)
blocks  [batch, block, head, query in block, 3 s]: column c is the key at (block - 1) s + c (LongT5, local)
"""

from __future__ import annotations

from typing import Literal

import torch

Tensor = torch.Tensor
Layout = Literal["band", "blocks"]


def layout_of(weights: Tensor, batch: int, tokens: int) -> Layout | None:
    """The layout that weights over a text of so many tokens may have; None where it is neither.

    No weight may lie outside of the text: that of global tokens, in columns of their own, would.
    """
    for layout in _by_shape(weights, batch, tokens):
        rows = unfold(weights, layout, 0, tokens, tokens)
        lost = _by_query(weights, layout)[:, :, :tokens].sum(-1, dtype=torch.float64) - rows.sum(
            -1, dtype=torch.float64
        )
        if float(lost.abs().max()) < 1e-6:
            return layout
    return None


def _by_shape(weights: Tensor, batch: int, tokens: int) -> list[Layout]:
    shape = weights.shape
    if len(shape) == 4 and shape[0] == batch and shape[1] >= tokens and shape[3] % 2 == 1:
        return ["band"]
    if len(shape) == 5 and shape[0] == batch and shape[1] * shape[3] >= tokens and shape[4] == 3 * shape[3]:
        return ["blocks"]
    return []


def unfold(weights: Tensor, layout: Layout, first: int, last: int, tokens: int) -> Tensor:
    """Rows first … last over the keys of the text: [batch, head, row, key]; keys that were left out get 0."""
    near = _by_query(weights, layout)[:, :, first:last]
    queries = torch.arange(first, last, device=weights.device)
    width = weights.shape[-1]
    if layout == "band":
        before = width // 2
        start = queries
    else:
        before = width // 3
        start = queries // before * before
    index = start[:, None] + torch.arange(width, device=weights.device)  # of the key, counted from `before` keys left
    rows = near.new_zeros((*near.shape[:3], tokens + before + width))
    rows.scatter_(-1, index.expand(near.shape), near)
    return rows[..., before : before + tokens]


def as_returned(weights: Tensor, layout: Layout, tokens: int) -> Tensor:
    """The form in which models return such weights among their outputs."""
    return _by_query(weights, layout)[:, :, :tokens] if layout == "band" else weights


def _by_query(weights: Tensor, layout: Layout) -> Tensor:
    """[batch, head, query, column]"""
    if layout == "band":
        return weights.transpose(1, 2)
    return weights.transpose(1, 2).flatten(2, 3)
