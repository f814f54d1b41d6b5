"""The same tokens in another order: what a head does on them cannot come from what the text says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from attncli.data import Array, Input, Tokens
from attncli.inputs.batches import Batch


def shuffle_batch(batch: Batch, seed: int) -> Batch:
    """The same batch with the ordinary tokens of each segment of each text in another order.

    Special tokens stay where they are; so do segments, words and lengths, which are those of places. The order
    depends on the seed and the number of the text alone.
    """
    tensors, inputs = dict(batch.tensors), list(batch.inputs)
    for at, one in enumerate(batch.inputs):
        source, order = _mixed(one.source, (seed, one.index, 0))
        _reorder(tensors, "input_ids", (at, batch.source_mask), order)
        target = one.target
        if target is not None and batch.target_mask is not None:
            target, order = _mixed(target, (seed, one.index, 1))
            _reorder(tensors, "decoder_input_ids", (at, batch.target_mask), order)
        inputs[at] = Input(one.index, one.text, source, target)
    return replace(batch, tensors=tensors, inputs=tuple(inputs))


def _mixed(tokens: Tokens, seeds: tuple[int, ...]) -> tuple[Tokens, Array]:
    order, rng = np.arange(len(tokens)), np.random.default_rng(seeds)
    segments = np.array(tokens.segments)
    for name in dict.fromkeys(tokens.segments):
        places = np.flatnonzero(~tokens.special & (segments == name))
        order[places] = rng.permutation(places)
    pieces = tuple(tokens.pieces[at] for at in order)
    return replace(tokens, pieces=pieces, ids=tokens.ids[order]), order


def _reorder(tensors: dict[str, torch.Tensor], name: str, place: tuple[int, torch.Tensor], order: Array) -> None:
    row, mask = place
    ids = tensors[name].clone()
    real = mask[row].nonzero().flatten()
    ids[row, real] = ids[row, real[torch.from_numpy(order).to(real.device)]]
    tensors[name] = ids
