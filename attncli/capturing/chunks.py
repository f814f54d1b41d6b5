"""Local attention in chunks of tokens: each chunk is a call of its own, whose rows see only the keys of the chunk."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import nn

from attncli.capturing.blocks import Block
from attncli.capturing.masks import Strip, slices
from attncli.capturing.probe import ProbedCall

Tensor = torch.Tensor


def chunk_width(model: nn.Module, name: str) -> int:
    """Return the number of tokens of a chunk of the module that calls; 0 if it does not attend in chunks.

    name  qualified name of the module that makes the calls
    """
    owner = model.get_submodule(name.rpartition(".")[0])
    if type(owner).__name__ != "CanineAttention" or not owner.local:
        return 0
    sides = ("from_chunk_width", "from_chunk_stride", "to_chunk_width", "to_chunk_stride")
    sizes = {getattr(owner, f"attend_{side}") for side in sides}
    if len(sizes) > 1 or owner.always_attend_to_first_position or owner.first_position_attends_to_all:
        return 0
    return int(sizes.pop())


def joined_chunks(call: ProbedCall, calls: Sequence[ProbedCall], tokens: int, width: int) -> ProbedCall | None:
    """Return one call over all tokens in place of the calls of a module for its chunks; None if these do not fit."""
    chunks = sorted((other for other in calls if other.key[0] == call.key[0]), key=lambda other: other.key[1])
    weights = call.weights.new_zeros((*call.weights.shape[:2], tokens, tokens))
    visible = torch.zeros_like(weights, dtype=torch.bool)
    parts = list(slices(tokens, width))
    if len(parts) != len(chunks):
        return None
    for rows, chunk in zip(parts, chunks, strict=True):
        if chunk.visible is None or chunk.weights.shape[2:] != (rows.stop - rows.start,) * 2:
            return None
        weights[:, :, rows, rows], visible[:, :, rows, rows] = chunk.weights, chunk.visible
    return replace(call, weights=weights, visible=visible)


def chunk_block(number: int, weights: Tensor, visible: Tensor, tokens: int, width: int) -> Block | None:
    """Return the rows of the chunk of this number over its keys; None if it has another size."""
    rows = slice(number * width, min(tokens, (number + 1) * width))
    if weights.shape[2:] != (rows.stop - rows.start,) * 2:
        return None
    return Block(Strip(rows, rows, visible, slice(0, 0)), slice(0, weights.shape[1]), weights)
