"""Attention in blocks of rows: each is computed once, shown to a visitor, multiplied into the output and freed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from attncli.capturing.masks import LazyMask, Strip
from attncli.data import ScoreParts

Tensor = torch.Tensor

ROWS, LONG = 128, 4096
"""Rows of a block, twice as many from `LONG` keys on: enough for a good matrix product, few enough that causal rows
waste little on later keys."""
CELLS = {"cpu": 3 << 20, "cuda": 1 << 26}
"""Scores per block, on a processor 12 MB in float32. Fewer would stay in a nearer cache, but each block pays for
dozens of calls of torch, which weighs more."""

LEAST_SCORE = -80.0
"""Less the largest of its row. Weights 2e-35 times smaller matter to nothing, and processors are slow below 1e-38."""


@dataclass(frozen=True, eq=False)
class Block:
    """Some rows and heads of one call, float32 or float64; `Rows` says what raw, scores, scale and sums are."""

    strip: Strip
    heads: slice
    raw: Tensor
    scores: Tensor | None = None
    scale: Tensor | None = None
    largest: Tensor | None = None
    sums: tuple[Tensor, Tensor] | None = None

    @classmethod
    def whole(cls, weights: Tensor, visible: Tensor | None, first: int = 0) -> Block:
        """All heads and keys of rows that the model computed, from row `first`."""
        heads, rows, keys = weights.shape[1:]
        clear = slice(0, 0 if visible is not None else keys)
        return cls(Strip(slice(first, first + rows), slice(0, keys), visible, clear), slice(0, heads), weights)


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

    def parts(self, rows: slice, keys: slice) -> ScoreParts:
        """What the scores of these rows and keys are made of."""
        query, key = self.query[:, :, rows], self.key[:, :, keys]
        if isinstance(self.scale, Tensor) and self.scale.numel() > 1:
            query, scale = query * self.scale, 1.0
        else:
            scale = float(self.scale)
        return ScoreParts(query, key, scale, self.softcap, self._biased)

    @property
    def added(self) -> list[Tensor]:
        """The numbers that are added to scores, be it only to mask them."""
        parts = (part for part in (self.bias, self.mask) if part is not None and not isinstance(part, LazyMask))
        return [part for part in parts if part.dtype != torch.bool]

    @property
    def _biased(self) -> bool:
        """Whether something is added to scores that is more than a mask."""
        return any(bool(((part != 0) & (part > torch.finfo(part.dtype).min / 2)).any()) for part in self.added)

    @cached_property
    def shallow(self) -> bool:
        """Whether no score can be `LEAST_SCORE` below another of its row, since queries and keys are too short for it.

        Looked at on processors alone, where it saves a pass over all scores; other devices would have to be waited for.
        """
        if self.query.device.type != "cpu" or self.added:
            return False
        query, key = (part.float().norm(dim=-1).amax() for part in (self.query, self.key))
        return bool(2 * query * key * torch.as_tensor(self.scale).abs().max() < -LEAST_SCORE)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """batch, heads, queries, keys"""
        return self.query.shape[0], self.query.shape[1], self.query.shape[2], self.key.shape[2]


class Scratch:
    """Tensors that all blocks of all layers use in turn: they stay in cache and are not asked for again."""

    def __init__(self) -> None:
        self._kept: dict[Any, Tensor] = {}
        self._shaped: dict[Any, Tensor] = {}

    def take(self, name: str, like: Tensor, *shape: int, room: int = 0) -> Tensor:
        """Uninitialised, of the dtype and device of another tensor. `room`: the most cells that one of this name needs.

        It is there until another of this name is taken.
        """
        kind = name, like.dtype, like.device
        found = self._shaped.get((kind, shape))
        if found is None:
            size = math.prod(shape)
            if len(self._kept.get(kind, ())) < size:
                self._kept[kind] = like.new_empty(max(size, room))
                self._shaped.clear()
            found = self._shaped[kind, shape] = self._kept[kind][:size].view(shape)
        return found


def attend(call: AttentionCall, visit: Callable[[Block], None], memory: Scratch | None = None) -> Tensor:
    """The output [batch, head, query, value dim] of a call whose row blocks were all shown to `visit`.

    A block is there for as long as it is visited: the next one takes its memory.
    """
    batch, heads, queries, _ = call.shape
    # as models want it next: the heads of a token beside each other
    output = call.value.new_empty((batch, queries, heads, call.value.shape[-1])).transpose(1, 2)
    memory = memory or Scratch()
    # once as the products want them: models hand out views into wider matrices, through which every block would stride
    columns, value = call.key.transpose(2, 3).contiguous(), call.value.contiguous()
    for strip in _strips(call):
        query = call.query[:, :, strip.rows] * call.scale
        its_columns, its_value, its_output = columns[..., strip.keys], value[:, :, strip.keys], output[:, :, strip.rows]
        for some in _head_blocks(call, strip):
            scores = _scores(call, query[:, some], _of_heads(its_columns, some, heads), strip, some, memory)
            block = _block(call, scores, strip, some, memory)
            visit(block)
            _write_output(its_output[:, some], block, _of_heads(its_value, some, heads), memory)
    return output


def _write_output(output: Tensor, block: Block, value: Tensor, memory: Scratch) -> None:
    assert block.scale is not None
    scale = block.scale[..., None]
    product = memory.take("output", value, *output.shape)
    if value.dtype == block.raw.dtype:
        torch.mul(_times(block.raw, value, product), scale, out=output)
    else:  # half precision could not hold sums of weights that are not scaled yet
        output.copy_(_times((block.raw * scale).to(value.dtype), value, product))


def row_blocks(queries: int, step: int) -> Iterator[slice]:
    """All rows, `step` at a time."""
    for first in range(0, queries, step):
        yield slice(first, min(first + step, queries))


def rows_at_once(keys: int) -> int:
    """How many rows make a good block over so many keys."""
    return ROWS if keys < LONG else 2 * ROWS


def block_bytes(shape: tuple[int, int, int, int], device: torch.device) -> int:
    """What the blocks of a call [batch, head, query, key] take: scores and weights of one."""
    return 2 * 4 * _largest_block(shape, device)


def _largest_block(shape: tuple[int, int, int, int], device: torch.device) -> int:
    """Cells that no block of a call exceeds."""
    batch, heads, queries, keys = shape
    rows = min(queries, rows_at_once(keys))
    return min(batch * heads * rows * keys, max(_cells(device), batch * rows * keys))


def _cells(device: torch.device) -> int:
    return CELLS.get(device.type, CELLS["cpu"])


def visible_cells(call: AttentionCall, rows: slice, keys: slice) -> Tensor | None:
    """Which of these keys these rows may see by the call's masks; None where nothing is masked."""
    visible: Tensor | None = None
    for added in (call.bias, call.mask):
        if added is None:
            continue
        if isinstance(added, LazyMask):
            seen = added.visible(rows, keys)
        else:
            part = _part_of(added, rows, keys)
            seen = part if part.dtype == torch.bool else part > torch.finfo(part.dtype).min / 2
        visible = seen if visible is None else visible & seen
    if call.causal:
        queries = torch.arange(rows.start, rows.stop, device=call.key.device)
        at = torch.arange(keys.start, keys.stop, device=call.key.device)
        seen = (at <= queries[:, None])[None, None]
        visible = seen if visible is None else visible & seen
    return visible


def _strips(call: AttentionCall) -> Iterator[Strip]:
    """Some rows after the other with the keys that they need."""
    _, _, queries, keys = call.shape
    step, every = rows_at_once(keys), slice(0, keys)
    if isinstance(call.mask, LazyMask) and call.bias is None and not call.causal:
        yield from call.mask.strips(step)
        return
    for rows in row_blocks(queries, step):
        visible = visible_cells(call, rows, every)
        yield Strip(rows, every, None, every) if visible is None else Strip.found(rows, visible)


def _head_blocks(call: AttentionCall, strip: Strip) -> Iterator[slice]:
    """All heads at once while the keys are few, then as many as make a good block of all keys.

    Whole groups that share a key head, or parts of one group. Never more than two ways to split the heads, since sinks
    hold what they have of each.
    """
    batch, heads, _, every = call.shape
    rows, keys = strip.rows.stop - strip.rows.start, strip.keys.stop - strip.keys.start
    step, cells = heads, _cells(call.key.device)
    if batch * heads * rows * keys > cells:
        group = heads // call.key.shape[1]
        step = max(1, cells // (batch * rows_at_once(every) * every))
        step = step - step % group if step >= group else max(n for n in range(1, step + 1) if group % n == 0)
    for first in range(0, heads, step):
        yield slice(first, min(first + step, heads))


def _scores(call: AttentionCall, query: Tensor, columns: Tensor, strip: Strip, heads: slice, memory: Scratch) -> Tensor:
    """Of scaled queries [batch, head, row, dim] and keys [batch, kv head, dim, key]: [batch, head, row, key]."""
    room = _largest_block(call.shape, query.device)
    product = memory.take("scores", query, *query.shape[:3], columns.shape[3], room=room)
    scores = _times(query, columns, product).to(torch.promote_types(query.dtype, torch.float32))
    if call.softcap is not None:
        scores = scores.div_(call.softcap).tanh_().mul_(call.softcap)
    for added in call.added:
        scores += _for_heads(_part_of(added, strip.rows, strip.keys), heads)
    for side, penalty in strip.penalties:
        scores[..., side] += _for_heads(penalty, heads)
    return scores


def _block(call: AttentionCall, scores: Tensor, strip: Strip, heads: slice, memory: Scratch) -> Block:
    largest = scores.amax(-1, keepdim=True)
    scores.sub_(largest)
    for side in [side for side, _ in strip.unclear] if call.shallow else [slice(None)]:
        scores[..., side].clamp_min_(LEAST_SCORE)
    raw = memory.take("raw", scores, *scores.shape, room=_largest_block(call.shape, scores.device))
    torch.exp(scores, out=raw)
    for side, seen in strip.unclear:
        raw[..., side] *= _for_heads(seen, heads)
    sums = raw[..., : strip.behind].sum(-1), raw[..., strip.behind :].sum(-1)
    total = sums[0] + sums[1]
    if call.sinks is not None:
        sink = _sink(call.sinks, strip.rows, heads).to(scores.dtype)
        total += (sink - largest).squeeze(-1).clamp_max_(-LEAST_SCORE).exp_()
    # a row that sees nothing gets nothing
    scale = total.clamp_min_(torch.finfo(scores.dtype).tiny).reciprocal_()
    return Block(strip, heads, raw, scores, scale, largest[..., 0], sums)


def _sink(sinks: Tensor, rows: slice, heads: slice) -> Tensor:
    """One sink logit per head (or per head and row), broadcastable to [batch, head, row, 1]."""
    column = sinks if sinks.dim() == 4 else sinks.reshape(1, -1, 1, 1)
    return column[:, heads, rows] if column.shape[2] > 1 else column[:, heads]


def _part_of(mask: Tensor, rows: slice, keys: slice) -> Tensor:
    """The part of a mask that these rows need; masks of one row serve all rows."""
    while mask.dim() < 4:
        mask = mask.unsqueeze(0)
    if mask.shape[-2] > 1:
        mask = mask[..., rows, :]
    return mask[..., keys]


def _for_heads(mask: Tensor, heads: slice) -> Tensor:
    """A mask's part for these heads; that of one head serves all."""
    return mask if mask.shape[1] == 1 else mask[:, heads]


def _of_heads(shared: Tensor, heads: slice, count: int) -> Tensor:
    """The key heads that these query heads read."""
    group = count // shared.shape[1]
    return shared[:, heads.start // group : (heads.stop - 1) // group + 1]


def _times(rows: Tensor, shared: Tensor, out: Tensor) -> Tensor:
    """[batch, head, row, n] x [batch, kv head, n, m], query heads that share a key head in one product."""
    products = shared.shape[0] * shared.shape[1]
    torch.bmm(rows.reshape(products, -1, rows.shape[3]), shared.flatten(0, 1), out=out.view(products, -1, out.shape[3]))
    return out
