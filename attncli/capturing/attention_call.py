"""One call of an attention function, with everything that decides its weights."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, reduce
from typing import Any

import torch

from attncli.capturing.intercept import Args, KwArgs
from attncli.capturing.masks import LazyMask
from attncli.data import ScoreParts
from attncli.data.cached import cached_property

Tensor = torch.Tensor
LEAST_SCORE = -80.0
"""The lowest score that is computed, relative to the largest score of its row. Lower ones are raised to it: weights
2e-35 times smaller than the largest do not matter, and processors are slow below 1e-38."""


@dataclass(frozen=True)
class AttentionCall:
    """One call of an attention function.

    query       [batch, head, query, dim]
    key, value  [batch, kv head, key, dim]
    mask, bias  broadcastable to [batch, head, query, key]; a bool mask is True for visible keys, float ones are added
    scale       factor of the products of queries and keys
    softcap     c of c tanh(score / c); None for no cap
    sinks       one logit per head whose weight is dropped from the row
    causal      whether keys after their query are masked
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
    def from_dispatch(cls, function: Callable[..., Any], args: Args, kwargs: KwArgs) -> AttentionCall:
        """Return the call `function(*args, **kwargs)` that the attention interface of Transformers makes.

        The first five parameters of every attention function are module, query, key, value and mask, under any name.
        """
        bound = _signature(function).bind(*args, **kwargs).arguments
        module, query, key, value, mask = [bound.pop(name) for name in list(bound)[:5]]
        options = {**bound.pop("kwargs", {}), **bound}
        scale = options.get("scaling")
        sinks = (options.get("s_aux"), options.get("sinks"), getattr(module, "sinks", None))
        return cls(
            query,
            key,
            value,
            mask,
            bias=options.get("position_bias"),
            scale=query.shape[-1] ** -0.5 if scale is None else scale,
            softcap=options.get("softcap"),
            sinks=next((logits for logits in sinks if logits is not None), None),
        )

    @classmethod
    def from_sdpa(
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
        """Return the call of torch's attention; a single head, or a single text, gets an axis of its own."""
        factor = query.shape[-1] ** -0.5 if scale is None else scale
        if query.dim() < 4:
            texts = query.dim() == 3
            query, key, value = (part[:, None] if texts else part[None, None] for part in (query, key, value))
            attn_mask = attn_mask[:, None] if attn_mask is not None and attn_mask.dim() == 3 else attn_mask
        if attn_mask is not None and attn_mask.is_floating_point():  # a row with minus infinity alone has no softmax
            attn_mask = attn_mask.clamp(min=torch.finfo(attn_mask.dtype).min)
        if len({len(part) for part in (query, key, value)}) > 1:  # one text serves all
            size = max(len(part) for part in (query, key, value))
            query, key, value = (part.expand(size, *part.shape[1:]) for part in (query, key, value))
        return cls(query, key, value, attn_mask, None, factor, None, None, is_causal)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Numbers of (batch entries, heads, queries, keys)."""
        return self.query.shape[0], self.query.shape[1], self.query.shape[2], self.key.shape[2]

    def score_parts(self, rows: slice, keys: slice) -> ScoreParts:
        """Return the vectors and factors from which the scores of these rows and keys are computed."""
        query, key = self.query[:, :, rows], self.key[:, :, keys]
        if isinstance(self.scale, Tensor) and self.scale.numel() > 1:
            query, scale = query * self.scale, 1.0
        else:
            scale = float(self.scale)
        # a mask adds only 0 or numbers near the lowest of its dtype
        biases = [(term != 0) & (term > torch.finfo(term.dtype).min / 2) for term in self.added_terms]
        return ScoreParts(query, key, scale, self.softcap, any(bool(bias.any()) for bias in biases))

    @property
    def added_terms(self) -> list[Tensor]:
        """Float biases and masks that are added to the scores."""
        terms = (term for term in (self.bias, self.mask) if term is not None and not isinstance(term, LazyMask))
        return [term for term in terms if term.dtype != torch.bool]

    @cached_property
    def scores_are_close(self) -> bool:
        """Whether no score can lie `LEAST_SCORE` below another of its row, because queries and keys are too short.

        Checked only on a CPU, where it saves a pass over all scores, and if these are more than the numbers of
        the queries; on other devices the check would wait for them.
        """
        if self.query.device.type != "cpu" or self.added_terms or self.shape[3] < self.query.shape[3]:
            return False
        query, key = (vectors.float().norm(dim=-1).amax() for vectors in (self.query, self.key))
        return bool(2 * query * key * torch.as_tensor(self.scale).abs().max() < -LEAST_SCORE)

    def visible(self, rows: slice, keys: slice) -> Tensor | None:
        """Return which of these keys the masks make visible to each of these rows; None if nothing is masked."""
        parts = []
        for term in (self.bias, self.mask):
            if term is not None:
                part = term.visible(rows, keys) if isinstance(term, LazyMask) else mask_part(term, rows, keys)
                parts.append(part if part.dtype == torch.bool else part > torch.finfo(part.dtype).min / 2)
        if self.causal:
            query, key = (torch.arange(part.start, part.stop, device=self.key.device) for part in (rows, keys))
            parts.append((key <= query[:, None])[None, None])
        return reduce(torch.logical_and, parts) if parts else None


@lru_cache(maxsize=16)
def _signature(function: Callable[..., Any]) -> inspect.Signature:
    return inspect.signature(function)


def mask_part(mask: Tensor, rows: slice, keys: slice) -> Tensor:
    """Return the part of a mask or bias for these rows and keys, with 4 axes; a single row serves all rows."""
    while mask.dim() < 4:
        mask = mask.unsqueeze(0)
    return mask[..., rows, keys] if mask.shape[-2] > 1 else mask[..., keys]
