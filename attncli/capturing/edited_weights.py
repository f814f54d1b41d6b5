"""Edited attention weights of one call: changes of chosen heads, computed in rows.

Every row of weights is complete by itself, so a row is edited when it is computed. Scores are edited first
(temperature, blocked keys, windows), then the softmax runs, then weights are replaced. Nothing is computed in place, so
gradients pass through all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from attncli.capturing.attention_call import AttentionCall, mask_part
from attncli.capturing.blocks import Block, rows_per_block
from attncli.capturing.masks import Strip, slices
from attncli.data.edits import Action

Tensor = torch.Tensor
_BITS = (1 << 64) - 1


@dataclass(frozen=True, eq=False)
class Span:
    """The text positions of the rows or keys of a call: `first` is that of its first row or key."""

    first: int
    count: int

    def part(self, rows: slice) -> Span:
        return Span(self.first + rows.start, rows.stop - rows.start)

    def of(self, mask: Tensor) -> Tensor:
        """Return the part [batch, count] of a mask [batch, token]; False for tokens that it does not know."""
        known = mask[:, self.first : self.first + self.count]
        return torch.nn.functional.pad(known, (0, self.count - known.shape[1]))

    def positions(self, device: torch.device) -> Tensor:
        return torch.arange(self.first, self.first + self.count, device=device)


@dataclass(frozen=True, eq=False)
class WeightEdit:
    """An edit of the weights of one attention call, for the texts of a batch.

    action          block, window or temperature, which edit scores; uniform, permute or replace, which edit weights
    where           [batch or 1, head, 1, 1] bool: the heads that are edited
    number          seed, temperature or width
    seeds           seeds of permute, one for each text of the batch; None if `number` is that of all texts
    queries, keys   [batch, token] bool: tokens between which attention is blocked; None for all tokens
    weights         [1 or batch, head, query, key]: weights that are put in the place of those of heads
    change          a function of weights [batch, head, row, key] and the positions of their rows and keys that returns
                    weights of the same shape, for analyses that need another edit
    """

    action: Action
    where: Tensor
    number: float | None = None
    seeds: Sequence[int] | None = None
    queries: Tensor | None = None
    keys: Tensor | None = None
    weights: Tensor | None = None
    change: Callable[[Tensor, Span, Span], Tensor] | None = None

    @property
    def hides(self) -> bool:
        return self.action in ("block", "window")

    def chosen(self, edited: Tensor, unedited: Tensor) -> Tensor:
        """Return the edited tensor [batch, head, …] for the heads of the edit, the unedited one for the others."""
        return torch.where(self.where.to(unedited.device), edited, unedited)

    def hidden(self, rows: Span, keys: Span, device: torch.device) -> Tensor:
        """Return which keys the edit masks, broadcastable to [batch, head, row, key]."""
        if self.action == "window":
            assert self.number is not None
            distance = rows.positions(device)[:, None] - keys.positions(device)
            far = (distance.abs() >= self.number)[None, None]
        else:
            every = torch.ones((1, 1), dtype=torch.bool, device=device)
            of_rows = every if self.queries is None else rows.of(self.queries.to(device))
            of_keys = every if self.keys is None else keys.of(self.keys.to(device))
            far = of_rows[:, None, :, None] & of_keys[:, None, None, :]
        return far & self.where.to(device)

    def replaced(self, weights: Tensor, visible: Tensor, rows: Span, keys: Span) -> Tensor:
        """Return weights [batch, head, row, key] after the edit."""
        if self.change is not None:
            return self.change(weights, rows, keys)
        if self.action == "uniform":
            return visible / visible.sum(-1, keepdim=True).clamp_min(1).to(weights.dtype)
        if self.action == "permute":
            seeds = [int(self.number or 0)] if self.seeds is None else self.seeds
            return _permuted(weights, visible, rows, seeds)
        assert self.weights is not None
        given = self.weights.to(weights.device)[:, :, rows.first : rows.first + rows.count, : keys.first + keys.count]
        return given[..., keys.first :].to(weights.dtype)


@dataclass(frozen=True, eq=False)
class CallEdits:
    """The edits of the weights of one attention call, in the order of the user.

    name  how errors name the call
    """

    name: str
    edits: tuple[WeightEdit, ...]

    def softmax(self, scores: Tensor, visible: Tensor, rows: Span, keys: Span) -> Tensor:
        """Return edited weights [batch, head, row, key] in the dtype of the scores.

        scores   [batch, head, row, key or more]; further columns are sinks, which take weight and are dropped
        visible  [batch or 1, head or 1, row or 1, key] bool: which keys the model lets each row see
        """
        sinks = scores.shape[-1] - keys.count
        seen = visible.expand(-1, -1, scores.shape[2], keys.count)
        for edit in self.edits:
            if edit.action == "temperature":
                scores = edit.chosen(scores / (edit.number or 1.0), scores)
            elif edit.hides:
                seen = seen & ~edit.hidden(rows, keys, seen.device)
        masked = scores.masked_fill(~torch.nn.functional.pad(seen, (0, sinks), value=True), -torch.inf)
        largest = masked.detach().amax(-1, keepdim=True)
        raw = torch.exp(masked - torch.where(largest.isfinite(), largest, 0))
        weights = raw[..., : keys.count] / raw.sum(-1, keepdim=True).clamp_min(torch.finfo(raw.dtype).tiny)
        for edit in self.edits:
            if edit.action != "temperature" and not edit.hides:
                weights = edit.chosen(edit.replaced(weights, seen, rows, keys), weights)
        return weights


def edited_attend(
    call: AttentionCall,
    edits: CallEdits,
    spans: tuple[Span, Span],
    visit: Callable[[Block], None] | None = None,
) -> Tensor:
    """Return the edited output of a call, [batch, head, query, value dim]; `visit` sees its edited weights in blocks.

    spans  the text positions of its queries and of its keys
    """
    (rows, keys), (_, _, queries, count) = spans, call.shape
    parts = []
    for part in slices(queries, rows_per_block(count)):
        visible = call.visible(part, slice(0, count))
        if visible is None:
            visible = torch.ones((1, 1, 1, 1), dtype=torch.bool, device=call.key.device)
        weights = edits.softmax(_scores(call, part), visible, rows.part(part), keys)
        parts.append(weights.to(call.value.dtype) @ _for_queries(call.value, call.shape[1]))
        if visit is not None:
            visit(_block(weights.detach(), visible, part))
    return torch.cat(parts, 2)


def _block(weights: Tensor, visible: Tensor, rows: slice) -> Block:
    """Return the block of edited weights; blocked keys count as visible keys of weight 0."""
    heads, count, keys = weights.shape[1:]
    strip = Strip(rows, slice(0, keys), visible.expand(-1, -1, count, keys), slice(0, 0))
    return Block(strip, slice(0, heads), weights)


def _scores(call: AttentionCall, rows: slice) -> Tensor:
    """Return the scores of some rows, [batch, head, row, key], in float32 at least; sinks follow the keys."""
    query = call.query[:, :, rows] * call.scale
    return scores_of(call, query @ _for_queries(call.key, call.shape[1]).transpose(2, 3), rows)


def scores_of(call: AttentionCall, products: Tensor, rows: slice) -> Tensor:
    """Return the scores of some rows of a call, in float32 at least; sinks follow the keys.

    products  [batch, head, row, key] products of scaled queries and keys
    """
    scores = products.to(torch.promote_types(products.dtype, torch.float32))
    if call.softcap is not None:
        scores = torch.tanh(scores / call.softcap) * call.softcap
    for term in call.added_terms:
        scores = scores + mask_part(term, rows, slice(0, call.shape[3]))
    if call.sinks is None:
        return scores
    logits = call.sinks if call.sinks.dim() == 4 else call.sinks.reshape(1, -1, 1, 1)
    sink = logits[:, :, rows] if logits.shape[2] > 1 else logits
    return torch.cat([scores, sink.to(scores.dtype).expand(*scores.shape[:3], 1)], -1)


def _for_queries(shared: Tensor, heads: int) -> Tensor:
    """Return keys or values [batch, head, key, dim] of each query head, from those of the key heads."""
    return shared.repeat_interleave(heads // shared.shape[1], 1)


def _permuted(weights: Tensor, visible: Tensor, rows: Span, seeds: Sequence[int]) -> Tensor:
    """Return weights shuffled among the visible keys of each row; a row gets the same order in every batch.

    seeds  one for each text of the batch, or one for all
    """
    seen = visible.expand(weights.shape)
    noise = torch.stack([_noise(weights.shape[1], weights.shape[3], rows, seed) for seed in seeds])
    shuffled = noise.to(weights.device).masked_fill(~seen, 2.0)  # after all visible keys
    source = shuffled.argsort(-1)
    target = (~seen).int().argsort(dim=-1, stable=True)
    return torch.zeros_like(weights).scatter(-1, target, weights.gather(-1, source))


def _noise(heads: int, keys: int, rows: Span, seed: int) -> Tensor:
    """Return numbers from 0 to 1 that order the keys of some rows, [head, row, key]."""
    noise, generator = [], torch.Generator()
    for position in range(rows.first, rows.first + rows.count):
        generator.manual_seed(_mixed(seed, position))
        noise.append(torch.rand((heads, keys), generator=generator))
    return torch.stack(noise, 1)


def _mixed(seed: int, position: int) -> int:
    """Return a seed of 32 bits for a row: torch's generator for a CPU ignores all higher bits (SplitMix64)."""
    value = ((seed + 1) * 0x9E3779B97F4A7C15 + position * 0xD1B54A32D192ED03) & _BITS
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _BITS
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _BITS
    return (value ^ (value >> 31)) & 0xFFFFFFFF
