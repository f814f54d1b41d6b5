"""Attention in blocks of rows: each is computed once, shown to a visitor, multiplied into the output and freed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

Tensor = torch.Tensor

BLOCK_CELLS = 1 << 20
"""Scores per block: about 4 MB in float32, so that a block stays in cache."""


@dataclass(frozen=True)
class Block:
    """Some rows of one call: weights [batch, head, row, key] float32 (float64 of a float64 model)."""

    first: int
    weights: Tensor
    visible: Tensor | None


@dataclass(frozen=True)
class AttentionCall:
    """One call of an attention function, with all that decides its weights.

    query [batch, head, query, dim]; key, value [batch, kv head, key, dim]; mask and bias broadcast to
    [batch, head, query, key]: bool masks keep True, float ones are added. sinks: one logit per head whose weight
    is dropped from the row.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    mask: Tensor | None
    bias: Tensor | None
    scale: float
    softcap: float | None
    sinks: Tensor | None
    causal: bool = False

    @classmethod
    def dispatched(
        cls, module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **more: Any
    ) -> AttentionCall:
        """The call as Transformers' attention interface makes it."""
        scale = more.get("scaling")
        sinks = more.get("s_aux")
        if sinks is None:
            sinks = more.get("sinks")
        if sinks is None:
            sinks = getattr(module, "sinks", None)
        return cls(
            query=query,
            key=key,
            value=value,
            mask=mask,
            bias=more.get("position_bias"),
            scale=query.shape[-1] ** -0.5 if scale is None else scale,
            softcap=more.get("softcap"),
            sinks=sinks,
        )

    @classmethod
    def torch_sdpa(
        cls,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> AttentionCall:
        """The call as `torch.nn.functional.scaled_dot_product_attention` gets it."""
        factor = query.shape[-1] ** -0.5 if scale is None else scale
        return cls(query, key, value, attn_mask, None, factor, None, None, is_causal)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """batch, heads, queries, keys"""
        return self.query.shape[0], self.query.shape[1], self.query.shape[2], self.key.shape[2]


def attend(call: AttentionCall, visit: Callable[[Block], None]) -> Tensor:
    """The output [batch, head, query, value dim] of a call whose row blocks were all shown to `visit`."""
    batch, heads, queries, keys = call.shape
    output = call.value.new_empty((batch, heads, queries, call.value.shape[-1]))
    for first, last in row_blocks(batch * heads * keys, queries):
        weights, visible = _weights(call, first, last)
        visit(Block(first, weights, visible))
        output[:, :, first:last] = _times_value(weights.to(call.value.dtype), call.value)
    return output


def row_blocks(cells_per_row: int, queries: int) -> Iterator[tuple[int, int]]:
    """First and last row of blocks of about `BLOCK_CELLS` scores."""
    step = max(1, BLOCK_CELLS // max(1, cells_per_row))
    for first in range(0, queries, step):
        yield first, min(first + step, queries)


def visibility(call: AttentionCall, first: int, last: int) -> Tensor | None:
    """Which keys rows first … last may see by the call's masks; None where nothing is masked."""
    keys, visible = call.key.shape[2], None
    for added in (call.bias, call.mask):
        if added is not None:
            part = _rows_of(added, first, last, keys)
            seen = part if part.dtype == torch.bool else part > torch.finfo(part.dtype).min / 2
            visible = seen if visible is None else visible & seen
    if call.causal:
        rows = torch.arange(first, last, device=call.key.device)
        seen = (torch.arange(keys, device=call.key.device) <= rows[:, None])[None, None]
        visible = seen if visible is None else visible & seen
    return visible


def _weights(call: AttentionCall, first: int, last: int) -> tuple[Tensor, Tensor | None]:
    scores = _scores(call.query[:, :, first:last], call.key) * call.scale
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    if call.softcap is not None:
        scores = torch.tanh(scores / call.softcap) * call.softcap
    visible = visibility(call, first, last)
    for added in (call.bias, call.mask):
        if added is not None and added.dtype != torch.bool:
            scores = scores + _rows_of(added, first, last, scores.shape[-1])
    if visible is not None and (call.causal or (call.mask is not None and call.mask.dtype == torch.bool)):
        scores = scores.masked_fill(~visible, torch.finfo(scores.dtype).min)
    if call.sinks is None:
        return torch.softmax(scores, dim=-1), visible
    return _with_sinks(scores, call.sinks, first), visible


def _with_sinks(scores: Tensor, sinks: Tensor, first: int) -> Tensor:
    """Softmax over the keys and one sink logit per head (or per head and row), whose column is dropped."""
    column = sinks.to(scores.dtype)
    if column.dim() != 4:
        column = column.reshape(1, -1, 1, 1)
    if column.shape[2] > 1:
        column = column[:, :, first : first + scores.shape[2]]
    column = column.expand(*scores.shape[:-1], 1)
    return torch.softmax(torch.cat([scores, column], dim=-1), dim=-1)[..., :-1]


def _rows_of(mask: Tensor, first: int, last: int, keys: int) -> Tensor:
    """The part of a mask that these rows need; masks of one row serve all rows."""
    while mask.dim() < 4:
        mask = mask.unsqueeze(0)
    if mask.shape[-2] > 1:
        mask = mask[..., first:last, :]
    return mask[..., :keys]


def _scores(query: Tensor, key: Tensor) -> Tensor:
    batch, heads, rows, dim = query.shape
    groups = key.shape[1]
    if heads == groups:
        return query @ key.transpose(2, 3)
    grouped = query.reshape(batch, groups, heads // groups * rows, dim)
    return (grouped @ key.transpose(2, 3)).reshape(batch, heads, rows, key.shape[2])


def _times_value(weights: Tensor, value: Tensor) -> Tensor:
    batch, heads, rows, keys = weights.shape
    groups = value.shape[1]
    if heads == groups:
        return weights @ value
    grouped = weights.reshape(batch, groups, heads // groups * rows, keys)
    return (grouped @ value).reshape(batch, heads, rows, value.shape[-1])
