"""Attention in blocks of rows: compute a block, pass it to a visitor, add it to the output, reuse its memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from attncli.capturing.attention_call import LEAST_SCORE, AttentionCall, mask_part
from attncli.capturing.compiled import compiled_softmax
from attncli.capturing.masks import LazyMask, Strip, slices, visible_bounds
from attncli.data import RowTotals

Tensor = torch.Tensor

ROWS, LONG = 128, 4096
"""Rows of a block; twice as many from `LONG` keys on. Enough rows for a fast matrix product, and few enough that
little is computed for the masked keys of causal rows."""
CELLS = {"cpu": 3 << 20, "cuda": 1 << 26}
"""Scores of a block; on a CPU 12 MB in float32. Smaller blocks would fit a faster cache, but every block costs dozens
of torch calls, which takes longer."""


@dataclass(frozen=True, eq=False)
class Block:
    """Some rows and heads of one call, in float32 or float64.

    raw      [batch, head, row, key] weights divided by `scale`
    scores   [batch, head, row, key] scores minus `largest`; None if the model or compiled code computed the weights
    scale    [batch, head, row] factor from `raw` to weights; None if `raw` are the weights
    largest  [batch, head, row] largest score of each row
    sums     sums of `raw` over the keys of each row, if they were computed with it
    """

    strip: Strip
    heads: slice
    raw: Tensor
    scores: Tensor | None = None
    scale: Tensor | None = None
    largest: Tensor | None = None
    sums: RowTotals | None = None

    @classmethod
    def from_weights(cls, weights: Tensor, visible: Tensor | None, first: int = 0) -> Block:
        """Return a block of all heads and keys from weights of the model whose rows start at `first`."""
        heads, rows, keys = weights.shape[1:]
        clear = slice(0, 0 if visible is not None else keys)
        return cls(Strip(slice(first, first + rows), slice(0, keys), visible, clear), slice(0, heads), weights)


class Scratch:
    """Named tensors that the blocks of all layers share, so that their memory stays in cache."""

    def __init__(self) -> None:
        self._buffers: dict[tuple[str, torch.dtype, torch.device], Tensor] = {}
        self._views: dict[tuple[tuple[str, torch.dtype, torch.device], tuple[int, ...]], Tensor] = {}
        self._strips: dict[tuple[int, int], Strip] = {}

    def whole_strip(self, queries: int, keys: int) -> Strip:
        """Return the strip of all rows of a short call without a mask, which layers share with all computed from it."""
        every = slice(0, keys)
        return self._strips.setdefault((queries, keys), Strip(slice(0, queries), every, None, every))

    def borrow(self, name: str, like: Tensor, *shape: int, cells: int = 0) -> Tensor:
        """Return an uninitialised tensor of this shape, valid until the same name is borrowed again.

        like   a tensor of the same dtype and device
        cells  largest size that this name will need
        """
        buffer = name, like.dtype, like.device
        view = self._views.get((buffer, shape))
        if view is None:
            size = math.prod(shape)
            if len(self._buffers.get(buffer, ())) < size:
                self._buffers[buffer] = like.new_empty(max(size, cells))
                self._views.clear()
            view = self._views[buffer, shape] = self._buffers[buffer][:size].view(shape)
        return view


def attend(
    call: AttentionCall, visit: Callable[[Block], None], scratch: Scratch | None = None, *, compiled: bool = False
) -> Tensor:
    """Return the output of a call, [batch, head, query, value dim], after `visit` has seen every block of its rows.

    compiled  whether compiled code computes the weights of a block and the sums of its rows
    A block is valid only while it is visited: the next block overwrites its memory.
    """
    batch, heads, queries, _ = call.shape
    # in memory the heads of a token are neighbours: models read the output in this order
    output = call.value.new_empty((batch, queries, heads, call.value.shape[-1])).transpose(1, 2)
    scratch = scratch or Scratch()
    # copied once: models pass views into wider matrices, which are slow to read in every block
    columns, value = call.key.transpose(2, 3).contiguous(), call.value.contiguous()
    for strip in _strips(call, scratch):
        query = call.query[:, :, strip.rows] * call.scale
        strip_columns, strip_value = columns[..., strip.keys], value[:, :, strip.keys]
        for part in _head_parts(call, strip):
            scores = _scores(call, query[:, part], _key_heads(strip_columns, part, heads), strip, part, scratch)
            if compiled and min(scores.shape[2:]) > 1:  # compiled code is for numbers of rows and keys above 1
                block = _compiled_block(call, scores, strip, part)
            else:
                block = _softmax_block(call, scores, strip, part, scratch)
            visit(block)
            _write_output(output[:, part, strip.rows], block, _key_heads(strip_value, part, heads), scratch)
    return output


def rows_per_block(keys: int) -> int:
    """Return the number of rows of a block with this number of keys."""
    return ROWS if keys < LONG else 2 * ROWS


def most_cells(shape: tuple[int, int, int, int], device: torch.device) -> int:
    """Return the largest number of cells of a block of a call [batch, head, query, key]."""
    batch, heads, queries, keys = shape
    rows = min(queries, rows_per_block(keys))
    return min(batch * heads * rows * keys, max(_cells_per_block(device), batch * rows * keys))


def _cells_per_block(device: torch.device) -> int:
    return CELLS.get(device.type, CELLS["cpu"])


def _strips(call: AttentionCall, scratch: Scratch) -> Iterator[Strip]:
    """Yield the rows of a call, strip by strip, each with the keys that its rows need."""
    _, _, queries, keys = call.shape
    step, all_keys = rows_per_block(keys), slice(0, keys)
    if isinstance(call.mask, LazyMask) and call.bias is None and not call.causal:
        yield from call.mask.strips(step)
        return
    for rows in slices(queries, step):
        visible = call.visible(rows, all_keys)
        if visible is None:
            yield scratch.whole_strip(queries, keys) if queries <= step else Strip(rows, all_keys, None, all_keys)
        else:
            bounds = visible_bounds(visible, rows).tolist()
            yield Strip.from_bounds(rows, visible[..., slice(*bounds[:2])], bounds)


def _head_parts(call: AttentionCall, strip: Strip) -> Iterator[slice]:
    """Yield the heads of each block: all heads if the strip is small, else as many as fit into a block over all keys.

    A block has whole groups of heads that share a key head, or a part of one group. A call has at most two such
    divisions of its heads, since sinks keep data for each.
    """
    batch, heads, _, all_keys = call.shape
    rows, keys = strip.rows.stop - strip.rows.start, strip.keys.stop - strip.keys.start
    step, cells = heads, _cells_per_block(call.key.device)
    if batch * heads * rows * keys > cells:
        group = heads // call.key.shape[1]
        step = max(1, cells // (batch * rows_per_block(all_keys) * all_keys))
        step = step - step % group if step >= group else max(n for n in range(1, step + 1) if group % n == 0)
    yield from slices(heads, step)


def _scores(
    call: AttentionCall, query: Tensor, columns: Tensor, strip: Strip, heads: slice, scratch: Scratch
) -> Tensor:
    """Return the masked scores [batch, head, row, key], in float32 at least.

    query    [batch, head, row, dim], already scaled
    columns  [batch, kv head, dim, key]
    """
    cells = most_cells(call.shape, query.device)
    product = scratch.borrow("scores", query, *query.shape[:3], columns.shape[3], cells=cells)
    scores = _grouped_product(query, columns, product).to(torch.promote_types(query.dtype, torch.float32))
    if call.softcap is not None:
        scores = scores.div_(call.softcap).tanh_().mul_(call.softcap)
    for term in call.added_terms:
        scores += _for_heads(mask_part(term, strip.rows, strip.keys), heads)
    for side, penalty in strip.penalties:
        scores[..., side] += _for_heads(penalty, heads)
    return scores


def _softmax_block(call: AttentionCall, scores: Tensor, strip: Strip, heads: slice, scratch: Scratch) -> Block:
    """Return the block of these scores, after a softmax that changes them in place."""
    largest = scores.amax(-1, keepdim=True)
    scores.sub_(largest)
    for side in [side for side, _ in strip.outside_clear] if call.scores_are_close else [slice(None)]:
        scores[..., side].clamp_min_(LEAST_SCORE)
    raw = scratch.borrow("raw", scores, *scores.shape, cells=most_cells(call.shape, scores.device))
    torch.exp(scores, out=raw)
    for side, visible in strip.outside_clear:
        raw[..., side] *= _for_heads(visible, heads)
    sums = RowTotals(raw[..., : strip.behind].sum(-1), raw[..., strip.behind :].sum(-1))
    scale = _scale(call, sums.before + sums.rest, largest, strip, heads)
    return Block(strip, heads, raw, scores, scale, largest[..., 0], sums)


def _compiled_block(call: AttentionCall, scores: Tensor, strip: Strip, heads: slice) -> Block:
    """Return the block of these scores and the sums of its rows, as compiled code computes them."""
    rows, keys = scores.shape[2:]
    queries, positions = _positions(strip, scores, rows)
    of_rows = compiled_softmax(scores.view(-1, keys), queries, positions)
    largest, total, log, offset, distance = (values.view(scores.shape[:3]) for values in of_rows)
    sums = RowTotals(torch.zeros_like(total), total, log, offset, distance)
    scale = _scale(call, total.clone(), largest[..., None], strip, heads)
    return Block(strip, heads, scores, None, scale, largest, sums)


def _positions(strip: Strip, scores: Tensor, rows: int) -> tuple[Tensor, Tensor]:
    """Return the positions of all rows of a block, and of its keys, in the dtype of its scores."""
    key = "positions", scores.shape[:3], scores.dtype
    if key not in strip.memory:
        like: Any = {"dtype": scores.dtype, "device": scores.device}
        queries = torch.arange(strip.rows.start, strip.rows.stop, **like)
        queries = queries.expand(*scores.shape[:2], rows).flatten()
        strip.memory[key] = queries, torch.arange(strip.keys.start, strip.keys.stop, **like)
    positions: tuple[Tensor, Tensor] = strip.memory[key]
    return positions


def _scale(call: AttentionCall, total: Tensor, largest: Tensor, strip: Strip, heads: slice) -> Tensor:
    """Return the factor from raw weights to weights; it changes `total`, the sums of the raw weights, in place."""
    if call.sinks is not None:
        # one logit per head, or per head and row
        logits = (call.sinks if call.sinks.dim() == 4 else call.sinks.reshape(1, -1, 1, 1))[:, heads]
        sink = (logits[:, :, strip.rows] if logits.shape[2] > 1 else logits).to(total.dtype)
        total += (sink - largest).squeeze(-1).clamp_max_(-LEAST_SCORE).exp_()
    # the smallest normal number keeps the weights of a row without visible keys at 0
    return total.clamp_min_(torch.finfo(total.dtype).tiny).reciprocal_()


def _write_output(output: Tensor, block: Block, value: Tensor, scratch: Scratch) -> None:
    assert block.scale is not None
    scale = block.scale[..., None]
    product = scratch.borrow("output", value, *output.shape)
    if value.dtype == block.raw.dtype:
        torch.mul(_grouped_product(block.raw, value, product), scale, out=output)
    else:  # sums of weights that are not scaled yet would overflow half precision
        output.copy_(_grouped_product((block.raw * scale).to(value.dtype), value, product))


def _for_heads(mask: Tensor, heads: slice) -> Tensor:
    """Return the part of a mask for these heads; a mask of one head serves all heads."""
    return mask if mask.shape[1] == 1 else mask[:, heads]


def _key_heads(shared: Tensor, heads: slice, count: int) -> Tensor:
    """Return the key heads of these query heads, which are `heads` of `count`."""
    group = count // shared.shape[1]
    return shared[:, heads.start // group : (heads.stop - 1) // group + 1]


def _grouped_product(rows: Tensor, shared: Tensor, out: Tensor) -> Tensor:
    """Return [batch, head, row, n] x [batch, kv head, n, m]; each kv head is multiplied once, with all its heads."""
    products = shared.shape[0] * shared.shape[1]
    torch.bmm(rows.reshape(products, -1, rows.shape[3]), shared.flatten(0, 1), out=out.view(products, -1, out.shape[3]))
    return out
