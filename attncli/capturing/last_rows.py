"""Attention of the last rows of a text, which reads kept keys and values of the tokens before them.

If rows only see keys up to their own, an edit of the last rows changes nothing before them. A pass over the last tokens
is then enough: in each layer, their queries meet the keys and values that a pass over the whole text has kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from attncli.capturing.attention_call import AttentionCall
from attncli.capturing.edited_weights import CallEdits, Span, scores_of
from attncli.capturing.intercept import Args, CallKey, KwArgs

Tensor = torch.Tensor


class CallKeeper:
    """A handler that keeps the calls of an attention function of a pass, and changes none."""

    def __init__(self) -> None:
        self.calls: dict[CallKey, AttentionCall] = {}

    def dispatched(self, key: CallKey, function: Callable[..., Any], args: Args, kwargs: KwArgs) -> Any:
        self.calls[key] = AttentionCall.from_dispatch(function, args, kwargs)
        return function(*args, **kwargs)

    def sdpa(self, key: CallKey, function: Callable[..., Tensor], args: Args, kwargs: KwArgs) -> Tensor:
        return function(*args, **kwargs)

    def softmax(self, key: CallKey, scores: Tensor, weights: Tensor) -> Tensor:
        return weights

    def inner_softmax(self, scores: Tensor, weights: Tensor) -> Tensor:
        return weights

    def ends_from(self, first: int) -> bool:
        """Return whether in every call the rows before `first` see no key from `first` on."""
        for call in self.calls.values():
            visible = call.visible(slice(0, first), slice(first, call.shape[3]))
            if visible is None or bool(visible.any()):
                return False
        return True


class LastRows(CallKeeper):
    """A handler that computes the rows from `first` on, of several copies of a text, with edits of their weights.

    whole  the calls of a pass over the whole text
    """

    def __init__(self, whole: Mapping[CallKey, AttentionCall], edits: Mapping[CallKey, CallEdits], first: int) -> None:
        super().__init__()
        self._whole, self._edits, self._first = whole, edits, first

    def dispatched(self, key: CallKey, function: Callable[..., Any], args: Args, kwargs: KwArgs) -> Any:
        call, edits = AttentionCall.from_dispatch(function, args, kwargs), self._edits.get(key, CallEdits("", ()))
        output = attend_last(call, self._whole[key], edits, self._first)
        return output.transpose(1, 2).contiguous(), None


def attend_last(call: AttentionCall, whole: AttentionCall, edits: CallEdits, first: int) -> Tensor:
    """Return the output [batch, head, row, value dim] of the last rows of copies of a text.

    call   their queries, keys and values
    whole  the call over the whole text, [1, head, token, dim], with its masks
    first  the first of the last rows
    """
    rows, keys = slice(first, whole.shape[3]), slice(0, whole.shape[3])
    query = call.query * call.scale
    before = _of_one_text(query, whole.key[:, :, :first].transpose(2, 3))
    products = torch.cat([before, _of_own_text(query, call.key.transpose(2, 3))], -1)
    visible = whole.visible(rows, keys)
    if visible is None:
        visible = torch.ones((1, 1, 1, 1), dtype=torch.bool, device=query.device)
    spans = Span(first, rows.stop - first), Span(0, keys.stop)
    weights = edits.softmax(scores_of(whole, products, rows), visible, *spans).to(call.value.dtype)
    of_before = _of_one_text(weights[..., :first], whole.value[:, :, :first])
    return of_before + _of_own_text(weights[..., first:], call.value)


def _of_one_text(left: Tensor, right: Tensor) -> Tensor:
    """Return [batch, head, row, n] x [1, kv head, n, m]: one product for all texts and heads that share a key head."""
    batch, heads, rows, inner = left.shape
    shared, columns = right.shape[1], right.shape[3]
    by_head = left.reshape(batch, shared, -1, inner).transpose(0, 1).reshape(shared, -1, inner)
    product = (by_head @ right[0]).view(shared, batch, -1, columns)
    return product.transpose(0, 1).reshape(batch, heads, rows, columns)


def _of_own_text(left: Tensor, right: Tensor) -> Tensor:
    """Return [batch, head, row, n] x [batch, kv head, n, m]."""
    grouped = left.reshape(*right.shape[:2], -1, left.shape[3])
    return (grouped @ right).view(*left.shape[:3], right.shape[3])
