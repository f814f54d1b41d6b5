"""Inputs of passages that come twice: random tokens, or texts of the user."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from attncli.data import Array
from attncli.errors import UsageError, shortened
from attncli.inputs.batches import Batch, batch_from_tensors
from attncli.inputs.targets import shift_right
from attncli.inputs.token_reader import special_ids
from attncli.models import Loaded

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LEAST_TOKENS = 2
"""Number of tokens that a passage has at least: with one, the token after the earlier copy is the copy itself."""
_NOT_TEXT = re.compile(r"\[.+\]|<.+>|\{.+\}")
"""Pieces that are not text: [unused1], <extra_id_0>, the byte <0x0A>."""


class Passage(NamedTuple):
    """Token ids r of a passage, and the same ids in another order."""

    ids: Array
    shuffled: Array


@dataclass(frozen=True, eq=False)
class RepeatedTokens:
    """What a model reads around passages that come twice: START r r END, in the decoder if there is one.

    tokenizer    that of the passages
    vocabulary   ids of ordinary tokens: not special, not added to the tokenizer, not in brackets
    start, end   ids of the special tokens before and after a text
    source       the same of the encoder, which reads other random tokens; None without an encoder of its own
    """

    loaded: Loaded
    tokenizer: PreTrainedTokenizerBase
    vocabulary: Array
    start: tuple[int, ...]
    end: tuple[int, ...]
    source: RepeatedTokens | None = None

    @classmethod
    def of(cls, loaded: Loaded) -> RepeatedTokens:
        """Return the tokens that a model reads; raise UsageError if it has no tokenizer."""
        if loaded.tokenizer is None:
            raise UsageError("this model has no tokenizer, which is needed to find ordinary tokens: pass a tokenizer")
        own = cls(loaded, loaded.tokenizer, _ordinary(loaded, loaded.tokenizer), *_outer_tokens(loaded.tokenizer))
        if not loaded.is_encoder_decoder:
            return own
        start = tuple(shift_right(loaded, [0, 0])[:1])
        tokenizer = loaded.target_tokenizer
        return cls(loaded, tokenizer, _ordinary(loaded, tokenizer), start, (), own)

    def random(self, length: int, seeds: Sequence[int], option: str = "--length") -> list[Passage]:
        """Return one passage of `length` different random tokens for each seed.

        option  the option that says the length
        Raise UsageError if the model reads fewer tokens, or the vocabulary has fewer.
        """
        self._check_length(length, option)
        passages = []
        for seed in seeds:
            rng = np.random.default_rng(seed)
            ids = rng.choice(self.vocabulary, length, replace=False)
            passages.append(Passage(ids, rng.permutation(ids)))
        return passages

    def passages(self, texts: Sequence[str]) -> list[Passage]:
        """Return the tokens of passages of the user; raise UsageError if one has too few or too many tokens."""
        passages = []
        limit, special = self.loaded.max_positions, len(self.start) + len(self.end)
        for number, text in enumerate(texts):
            ids = np.array(self.tokenizer(text, add_special_tokens=False)["input_ids"], dtype=np.int64)
            name = f"passage {number} ({shortened(text, 40)!r}) has {len(ids)} tokens"
            if len(ids) < LEAST_TOKENS:
                raise UsageError(f"{name}, expected at least {LEAST_TOKENS}: give a longer --probe-text")
            if limit is not None and special + 2 * len(ids) > limit:
                raise UsageError(
                    f"{name}, which the model reads twice, and it reads at most {limit} ({special} special): give a "
                    f"--probe-text of at most {(limit - special) // 2} tokens"
                )
            passages.append(Passage(ids, np.random.default_rng(number).permutation(ids)))
        return passages

    def batches(self, passages: Sequence[Passage], batch_tokens: int, again: bool = True) -> Iterator[Batch]:
        """Yield batches of START r r END, one input for each passage r; those of equal length share a batch.

        again  False: the second r has another order
        """
        order = sorted(range(len(passages)), key=lambda number: len(passages[number].ids))
        for length, group in groupby(order, key=lambda number: len(passages[number].ids)):
            numbers = list(group)
            step = max(1, batch_tokens // (len(self.start) + 2 * length + len(self.end)))
            for first in range(0, len(numbers), step):
                chosen = numbers[first : first + step]
                yield self._batch(chosen, [passages[number] for number in chosen], again)

    def _batch(self, numbers: Sequence[int], passages: Sequence[Passage], again: bool) -> Batch:
        ids = _stacked(
            [self.start, passage.ids, passage.ids if again else passage.shuffled, self.end] for passage in passages
        )
        tensors = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        if self.source is not None:
            source = self.source
            others = [source.unrelated(number, len(passages[0].ids)) for number in numbers]
            sources = _stacked([source.start, other, source.end] for other in others)
            tensors = {"input_ids": sources, "attention_mask": torch.ones_like(sources), "decoder_input_ids": ids}
        batch = batch_from_tensors(self.loaded, tensors)
        inputs = zip(batch.inputs, numbers, strict=True)
        return replace(batch, inputs=tuple(replace(text_input, index=number) for text_input, number in inputs))

    def unrelated(self, number: int, length: int) -> Array:
        """Return random ordinary tokens that differ for each number; a token may come several times."""
        return np.random.default_rng((number, 1)).choice(self.vocabulary, length)

    def _check_length(self, length: int, option: str) -> None:
        limit, special = self.loaded.max_positions, len(self.start) + len(self.end)
        total = special + 2 * length
        longest = len(self.vocabulary) if limit is None else min(len(self.vocabulary), (limit - special) // 2)
        if length <= longest:
            return
        if limit is not None and total > limit:
            needed = f"{total} tokens ({special} special, 2 x {length} random), the model reads at most {limit}"
        else:
            needed = f"{length} different ordinary tokens, the tokenizer has {len(self.vocabulary)}"
        advice = f"pass {option} {longest} or less" if longest > 1 else "give another model"
        raise UsageError(f"the probe of repeated tokens needs {needed}: {advice}")


def _stacked(rows: Any) -> torch.Tensor:
    return torch.from_numpy(np.stack([np.concatenate(row).astype(np.int64) for row in rows]))


def _ordinary(loaded: Loaded, tokenizer: PreTrainedTokenizerBase) -> Array:
    """Return the ids of ordinary tokens in ascending order."""
    special = set(tokenizer.all_special_ids) | set(tokenizer.get_added_vocab().values())
    limit = getattr(loaded.model.get_input_embeddings(), "num_embeddings", None) or len(tokenizer)
    return np.array(
        sorted(
            number
            for piece, number in tokenizer.get_vocab().items()
            if number < limit and number not in special and not _NOT_TEXT.fullmatch(str(piece))
        )
    )


def _outer_tokens(tokenizer: PreTrainedTokenizerBase) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the special tokens before and after a text; without any before, the token that begins a sequence."""
    special = special_ids(tokenizer)
    ids = list(tokenizer("a")["input_ids"])
    inner = [position for position, number in enumerate(ids) if number not in special] or [0]
    start, end = tuple(ids[: inner[0]]), tuple(ids[inner[-1] + 1 :])
    first = (getattr(tokenizer, name, None) for name in ("bos_token_id", "cls_token_id"))
    return start or tuple(number for number in first if number is not None)[:1], end
