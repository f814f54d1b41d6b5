"""Texts with shuffled tokens, as a baseline of heads."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from attncli.data import Array, Tokens
from attncli.inputs.batches import Batch


def shuffle_batch(batch: Batch, seed: int) -> Batch:
    """Return a batch with the ordinary tokens of each segment of each text in random order.

    Special tokens keep their positions. Segments, words and lengths belong to positions and stay as they are. The order
    depends only on the seed and the number of the text.
    """
    tensors, inputs = dict(batch.tensors), list(batch.inputs)
    for row, text_input in enumerate(batch.inputs):
        source, order = _shuffle(text_input.source, (seed, text_input.index, 0))
        _reorder(tensors, "input_ids", row, batch.source_mask, order)
        target = text_input.target
        if target is not None and batch.target_mask is not None:
            target, order = _shuffle(target, (seed, text_input.index, 1))
            _reorder(tensors, "decoder_input_ids", row, batch.target_mask, order)
        inputs[row] = replace(text_input, source=source, target=target)
    return replace(batch, tensors=tensors, inputs=tuple(inputs))


def _shuffle(tokens: Tokens, seeds: tuple[int, ...]) -> tuple[Tokens, Array]:
    order, rng = np.arange(len(tokens)), np.random.default_rng(seeds)
    segments = np.array(tokens.segments)
    for name in dict.fromkeys(tokens.segments):
        positions = np.flatnonzero(~tokens.special & (segments == name))
        order[positions] = rng.permutation(positions)
    pieces = tuple(tokens.pieces[position] for position in order)
    return replace(tokens, pieces=pieces, ids=tokens.ids[order]), order


def _reorder(tensors: dict[str, torch.Tensor], name: str, row: int, mask: torch.Tensor, order: Array) -> None:
    """Replace the ids of one row by a copy in which its real tokens are in this order."""
    ids = tensors[name].clone()
    real = mask[row].nonzero().flatten()
    ids[row, real] = ids[row, real[torch.from_numpy(order).to(real.device)]]
    tensors[name] = ids
