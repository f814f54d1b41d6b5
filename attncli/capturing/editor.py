"""The edits of the calls of one model on one batch, applied while it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from attncli.capturing.attention_call import AttentionCall
from attncli.capturing.blocks import Block
from attncli.capturing.edited_weights import CallEdits, Span, edited_attend
from attncli.capturing.intercept import Args, CallKey, KwArgs
from attncli.capturing.probe import agree
from attncli.capturing.sites import CapturePlan, Site
from attncli.capturing.weights import visible_by_scores
from attncli.data import base_kind
from attncli.errors import ModelError

Tensor = torch.Tensor


class Editor:
    """Edits attention calls.

    start  text position of the first query of a call; above 0 while a model generates and reads only new tokens
    """

    def __init__(self, plan: CapturePlan, edits: Mapping[CallKey, CallEdits], batch: int) -> None:
        self._sites: Mapping[CallKey, Site] = {site.key: site for site in plan.sites}
        self._edits, self._batch = edits, batch
        self._modules = {name for name, _ in edits}
        self._inner: CallKey | None = None
        self._returned: Tensor | None = None
        self.start = self._keys = 0

    def edits(self, key: CallKey) -> CallEdits | None:
        """Return the edits of a call of an attention function; None if there are none.

        Raise ModelError if its module makes another call, which would stay unedited.
        """
        if key[0] in self._modules and key not in self._sites:
            raise ModelError(f"{key[0]} cannot be edited: it computes its attention in several parts")
        return self._edits.get(key)

    def streams(self, key: CallKey) -> bool:
        """Return whether attncli computes a call itself."""
        return self._sites[key].route == "stream"

    def attend(self, key: CallKey, call: AttentionCall, visit: Callable[[Block], None] | None = None) -> Tensor:
        """Return the edited output of a call, [batch, head, query, dim]; `visit` sees its edited weights."""
        return edited_attend(call, self._edits[key], self._spans(key, *call.shape[2:]), visit)

    def through_softmax(self, key: CallKey, function: Callable[..., Any], args: Args, kwargs: KwArgs) -> Any:
        """Return what a dispatched function of the model returns if the result of its softmax is edited."""
        self._inner, self._returned = key, None
        self._keys = AttentionCall.from_dispatch(function, args, kwargs).key.shape[2]
        try:
            output, weights = function(*args, **kwargs)
        finally:
            self._inner = None
        edited: Tensor | None = self._returned
        if edited is None or weights is None or not agree(weights, edited[..., : self._keys].to(weights.dtype)):
            raise ModelError(f"{self._edits[key].name} cannot be edited: the model changes its weights after softmax")
        return output, weights

    def inner_softmax(self, scores: Tensor, weights: Tensor) -> Tensor:
        """Return the result of a softmax inside of a dispatched function."""
        if self._inner is None:
            return weights
        if self._returned is not None or weights.dim() != 4:
            raise ModelError(f"{self._edits[self._inner].name} cannot be edited: it computes softmax in another form")
        return self._edited(self._inner, scores, weights, self._keys)

    def softmax(self, key: CallKey, scores: Tensor, weights: Tensor) -> Tensor:
        """Return the result of a softmax that a model calls itself, edited if it is a call with edits."""
        if key not in self._edits:
            return weights
        if weights.dim() == 3:
            shape = (self._batch, -1, *weights.shape[1:])
            edited = self._edited(key, scores.reshape(shape), weights.reshape(shape), weights.shape[-1])
            return edited.reshape(weights.shape)
        return self._edited(key, scores, weights, weights.shape[-1])

    def _edited(self, key: CallKey, scores: Tensor, weights: Tensor, keys: int) -> Tensor:
        """Return the edited result of a softmax [batch, head, query, key or more]; further columns are sinks."""
        edits, spans = self._edits[key], self._spans(key, weights.shape[2], keys)
        exact = scores.to(torch.promote_types(scores.dtype, torch.float32))
        if not agree(exact.softmax(-1).to(weights.dtype), weights):
            raise ModelError(f"weights of {edits.name} cannot be edited: they are not the softmax of its scores by row")
        edited = edits.softmax(exact, visible_by_scores(scores)[..., :keys], *spans).to(weights.dtype)
        # the model drops the columns of sinks
        self._returned = torch.nn.functional.pad(edited, (0, weights.shape[3] - keys))
        return self._returned

    def _spans(self, key: CallKey, queries: int, keys: int) -> tuple[Span, Span]:
        """Return the text positions of the queries and of the keys of a call: those of a cache may begin later."""
        site = self._sites[key]
        if base_kind(site.kind) == "encoder":
            return Span(0, queries), Span(0, keys)
        first_key = 0 if base_kind(site.kind) == "cross" else max(0, self.start + queries - keys)
        return Span(self.start, queries), Span(first_key, keys)
