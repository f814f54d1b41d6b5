"""Texts with shuffled tokens, and inputs of random tokens that are repeated once, as baselines and probes of heads."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from attncli.data import Array, Tokens
from attncli.errors import UsageError
from attncli.inputs.batches import Batch, batch_from_tensors
from attncli.inputs.token_reader import special_ids
from attncli.models import Loaded

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_NOT_TEXT = re.compile(r"\[.+\]|<.+>|\{.+\}")
"""Pieces that are not text: [unused1], <extra_id_0>, the byte <0x0A>."""


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


@dataclass(frozen=True, eq=False)
class RandomTokens:
    """The tokens from which repeated inputs of a model are made.

    vocabulary   ids of ordinary tokens: not special, not added to the tokenizer, not in brackets
    start, end   ids of the special tokens before and after a text
    """

    loaded: Loaded
    vocabulary: Array
    start: tuple[int, ...]
    end: tuple[int, ...]

    @classmethod
    def of(cls, loaded: Loaded) -> RandomTokens:
        """Return the tokens of an encoder or a decoder-only model; raise UsageError for any other model."""
        if loaded.is_encoder_decoder:
            raise UsageError(
                f"the probe of repeated tokens is for encoders and decoder-only models, {loaded.name} is an "
                "encoder-decoder: give another model"
            )
        tokenizer = loaded.tokenizer
        if tokenizer is None:
            raise UsageError("this model has no tokenizer, which is needed to find ordinary tokens: pass a tokenizer")
        special = set(tokenizer.all_special_ids) | set(tokenizer.get_added_vocab().values())
        limit = getattr(loaded.model.get_input_embeddings(), "num_embeddings", None) or len(tokenizer)
        ordinary = {
            number
            for piece, number in tokenizer.get_vocab().items()
            if number < limit and number not in special and not _NOT_TEXT.fullmatch(str(piece))
        }
        return cls(loaded, np.array(sorted(ordinary)), *_outer_tokens(tokenizer))

    def batches(self, length: int, seeds: Sequence[int], batch_tokens: int, again: bool = True) -> Iterator[Batch]:
        """Yield batches of START r r END, one input per seed; r is `length` different random tokens.

        again  False: the second r has another order

        Raises `UsageError` if the model reads fewer tokens, or the vocabulary has fewer.
        """
        total = len(self.start) + 2 * length + len(self.end)
        self._check_length(length, total)
        sequences = []
        for seed in seeds:
            rng = np.random.default_rng(seed)
            first = rng.choice(self.vocabulary, length, replace=False)
            second = first if again else rng.permutation(first)
            sequences.append(np.concatenate([self.start, first, second, self.end]).astype(np.int64))
        step = max(1, batch_tokens // total)
        for index in range(0, len(sequences), step):
            ids = torch.from_numpy(np.stack(sequences[index : index + step]))
            batch = batch_from_tensors(self.loaded, {"input_ids": ids, "attention_mask": torch.ones_like(ids)})
            yield replace(
                batch, inputs=tuple(replace(text_input, index=index + text_input.index) for text_input in batch.inputs)
            )

    def _check_length(self, length: int, total: int) -> None:
        limit, special = self.loaded.max_positions, total - 2 * length
        longest = len(self.vocabulary) if limit is None else min(len(self.vocabulary), (limit - special) // 2)
        if length <= longest:
            return
        if limit is not None and total > limit:
            needed = f"{total} tokens ({special} special, 2 x {length} random), the model reads at most {limit}"
        else:
            needed = f"{length} different ordinary tokens, the tokenizer has {len(self.vocabulary)}"
        advice = f"pass --length {longest} or less" if longest > 1 else "give another model"
        raise UsageError(f"the probe of repeated tokens needs {needed}: {advice}")


def _outer_tokens(tokenizer: PreTrainedTokenizerBase) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the special tokens before and after a text; without any before, the token that begins a sequence."""
    special = special_ids(tokenizer)
    ids = list(tokenizer("a")["input_ids"])
    inner = [position for position, number in enumerate(ids) if number not in special] or [0]
    start, end = tuple(ids[: inner[0]]), tuple(ids[inner[-1] + 1 :])
    first = (getattr(tokenizer, name, None) for name in ("bos_token_id", "cls_token_id"))
    return start or tuple(number for number in first if number is not None)[:1], end
