"""Weights that a model stores in another form than [batch, head, query, key], rebuilt as such rows."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from transformers import PreTrainedModel

from attncli.capturing.chunks import chunk_width, joined_chunks
from attncli.capturing.probe import ProbedCall, agree
from attncli.capturing.weights import Layout, add_global_tokens, as_returned, find_layout, full_rows, global_tokens
from attncli.inputs.batches import Batch

Tensor = torch.Tensor
ReturnedMap = tuple[str, int, Tensor]
"""An attention map among the outputs of a model: (name of the output, index in it, map)."""


@dataclass(frozen=True, eq=False)
class Stored:
    """How a model stores the weights of a call that is not a matrix of query x key.

    width     number of columns of the layout, without those of global tokens
    returned  the weights as the model returns them
    """

    layout: Layout
    width: int
    returned: Tensor


def as_rows(
    call: ProbedCall,
    calls: Sequence[ProbedCall],
    batch: Batch,
    returned: Sequence[ReturnedMap],
    model: PreTrainedModel,
) -> tuple[ProbedCall, Stored | None]:
    """Return the call, with weights [batch, head, query, key] if they can be rebuilt, and how the model stores them."""
    size, source = len(batch.inputs), batch.lengths[0]
    weights, visible = call.weights, call.visible
    if call.function == "softmax" and (chunk := chunk_width(model, call.key[0])):
        joined = joined_chunks(call, calls, source, chunk)
        return (call, None) if joined is None else (joined, Stored("chunks", chunk, weights))
    if weights.dim() == 3 and weights.shape[0] % size == 0:
        shape = (size, -1, *weights.shape[1:])
        visible = None if visible is None else visible.reshape(shape)
        return replace(call, weights=weights.reshape(shape), visible=visible), None
    if call.function != "softmax" or visible is None:
        return call, None
    own = _global_rows(call, calls)
    columns = own.weights.shape[1] if own else 0
    layout = find_layout(weights[..., columns:], size, source)
    if layout is None:
        return call, None
    shown = as_returned(weights, layout, source).clone()
    rows, seen = (full_rows(part[..., columns:], layout, 0, source, source) for part in (weights, visible))
    if own and own.visible is not None:
        positions = global_tokens(visible, columns, source)
        for part, whole, of_global in ((rows, weights, own.weights), (seen, visible, own.visible)):
            add_global_tokens(
                part, 0, whole[..., :columns], of_global.reshape(size, -1, *of_global.shape[1:]), positions
            )
        for text, places in enumerate(positions):  # the model returns the rows of global tokens in another output
            shown[text][:, places] = 0
    if not is_returned(shown, returned):
        return call, None
    return replace(call, weights=rows, visible=seen), Stored(layout, weights.shape[-1] - columns, shown)


def _global_rows(call: ProbedCall, calls: Sequence[ProbedCall]) -> ProbedCall | None:
    """Return the softmax of global tokens over all keys, which follows that of a band; None if there is none."""
    shape, (name, number) = call.weights.shape, call.key
    for other in calls:
        if other.key == (name, number + 1) and other.weights.dim() == 3 and len(shape) == 4:
            texts_and_heads, columns, keys = other.weights.shape
            if (texts_and_heads, keys) == (shape[0] * shape[2], shape[1]) and columns < shape[3]:
                return other
    return None


def is_returned(weights: Tensor, returned: Sequence[ReturnedMap]) -> bool:
    """Return whether a map among the outputs of the model equals these weights."""
    return any(agree(weights, attention_map) for _, _, attention_map in returned)
