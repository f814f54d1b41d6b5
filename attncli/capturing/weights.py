"""Weights that a model computes: checks whether a tensor can hold them, and their layout around each query.

Models for long texts compute only the keys near a query. Two layouts are known:

band    [batch, query, head, 2 w + 1]: column c is the key at query - w + c (Longformer, LED)
blocks  [batch, block, head, query in block, 3 s]: column c is the key at (block - 1) s + c (LongT5, local)

Global tokens of a band have columns of their own on its left, and rows of their own over all keys.
"""

from collections.abc import Sequence
from typing import Literal

import torch

Tensor = torch.Tensor
Layout = Literal["band", "blocks", "chunks"]
TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-4, torch.bfloat16: 1e-2, torch.float16: 4e-3}
"""How far above 1 a row may sum, by the dtype that computed the softmax."""


def weights_problem(weights: Tensor, real: Tensor, dtype: torch.dtype) -> str | None:
    """Return why a tensor cannot hold attention weights; None if it can.

    weights  [batch, head, row, key]
    real     [batch, row] bool: False for rows of padding
    dtype    dtype of the model, which computes the softmax unless `torch.autocast` or the weights have a coarser one
    """
    kind = weights.device.type
    cast = [torch.get_autocast_dtype(kind)] if torch.is_autocast_enabled(kind) else []
    tolerance = max(TOLERANCE.get(part, 0) for part in (weights.dtype, dtype, *cast))
    rows = weights.masked_fill(~real[:, None, :, None], 0)
    total = rows.sum(-1, dtype=torch.float64)
    if not bool(torch.isfinite(total).all()):
        return "its weights are not finite"
    if float(rows.min()) < -tolerance:
        return f"its values go down to {float(rows.min()):.3g}: they are not softmax weights"
    if float(total.max()) > 1 + tolerance:
        return f"its rows sum to up to {float(total.max()):.4g} instead of 1: they are not softmax weights"
    return "its rows sum to 0" if float(total.max()) <= tolerance else None


def visible_by_scores(scores: Tensor) -> Tensor:
    """Return which keys are visible, judged by scores before a softmax: bool of the same shape.

    Masks add the lowest number of the dtype, -inf or (older models) -10,000; scores of visible keys differ by far less.
    """
    lowest = scores.amin(-1, keepdim=True)
    top = scores.amax(-1, keepdim=True)
    extreme = scores > torch.finfo(scores.dtype).min / 4 if scores.dtype == torch.float16 else scores > -1e8
    return torch.where(lowest < -1e8, extreme, scores > top - 5000.0)


def find_layout(weights: Tensor, batch: int, tokens: int) -> Layout | None:
    """Return the layout of weights over `batch` texts of `tokens` tokens; None if they have neither.

    Weights outside of the text exclude a layout: global tokens have such weights, in columns of their own.
    """
    shape = weights.shape
    layout: Layout
    if len(shape) == 4 and shape[0] == batch and shape[1] >= tokens and shape[3] % 2 == 1:
        layout = "band"
    elif len(shape) == 5 and shape[0] == batch and shape[1] * shape[3] >= tokens and shape[4] == 3 * shape[3]:
        layout = "blocks"
    else:
        return None
    total = _by_query(weights, layout)[:, :, :tokens].sum(-1, dtype=torch.float64)
    inside = full_rows(weights, layout, 0, tokens, tokens).sum(-1, dtype=torch.float64)
    return layout if float((total - inside).abs().max()) < 1e-6 else None


def full_rows(weights: Tensor, layout: Layout, first: int, last: int, tokens: int) -> Tensor:
    """Return the rows of queries `first` to `last` - 1 over all keys of the text, [batch, head, row, key].

    Keys that the layout does not store get 0.
    """
    near = _by_query(weights, layout)[:, :, first:last]
    queries = torch.arange(first, last, device=weights.device)
    width = weights.shape[-1]
    before = width // 2 if layout == "band" else width // 3
    start = queries if layout == "band" else queries // before * before
    # column c of a row is the key at start - before + c: with `before` more columns on the left no index is negative
    index = start[:, None] + torch.arange(width, device=weights.device)
    rows = near.new_zeros((*near.shape[:3], tokens + before + width))
    rows.scatter_(-1, index.expand(near.shape), near)
    return rows[..., before : before + tokens]


def as_returned(weights: Tensor, layout: Layout, tokens: int) -> Tensor:
    """Return the weights in the shape that models return them in."""
    return _by_query(weights, layout)[:, :, :tokens] if layout == "band" else weights


def global_tokens(visible: Tensor, columns: int, tokens: int) -> list[Tensor]:
    """Return the positions of the global tokens of each text, shown by a band that masks them for their own rows.

    visible  [batch, query, head, column] bool: visible keys, `columns` columns of global tokens before the band
    """
    middle = columns + (visible.shape[-1] - columns) // 2
    return [row.nonzero().flatten() for row in ~visible[:, :tokens, 0, middle]]


def add_global_tokens(rows: Tensor, first: int, columns: Tensor, own: Tensor, positions: Sequence[Tensor]) -> None:
    """Write weights, or visibility, of global tokens into rows that `full_rows` made from the band alone.

    rows       [batch, head, row, key], beginning at the query `first`
    columns    [batch, query, head, n]: of each query, to the global tokens
    own        [batch, head, n, key]: of each global token, to all keys
    positions  of the global tokens of each text, up to n
    """
    last, keys = first + rows.shape[2], rows.shape[3]
    for text, places in enumerate(positions):
        rows[text][..., places] = columns[text, first:last, :, : len(places)].transpose(0, 1)
        inside = (places >= first) & (places < last)
        rows[text][:, places[inside] - first] = own[text, :, : len(places), :keys][:, inside]


def _by_query(weights: Tensor, layout: Layout) -> Tensor:
    """Return the weights as [batch, head, query, column]."""
    transposed = weights.transpose(1, 2)
    return transposed if layout == "band" else transposed.flatten(2, 3)
