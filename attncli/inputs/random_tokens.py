"""Random tokens that come twice: what a head does on them is looking for what came before."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from attncli.data import Array
from attncli.errors import UsageError
from attncli.inputs.batches import Batch, batch_from_tensors
from attncli.models import Loaded

_MARKED = re.compile(r"\[.+\]|<.+>|\{.+\}")
"""Pieces that stand for no text: [unused1], <extra_id_0>, the bytes <0x0A>."""


@dataclass(frozen=True, eq=False)
class RandomTokens:
    """What repeated inputs of a model are made of.

    vocabulary   ids of ordinary tokens: neither special nor added, nor in brackets
    start, end   ids of the special tokens before and behind the text
    """

    loaded: Loaded
    vocabulary: Array
    start: tuple[int, ...]
    end: tuple[int, ...]

    @classmethod
    def of(cls, loaded: Loaded) -> RandomTokens:
        """Those of a model of one stack; another one is a `UsageError`."""
        if loaded.is_encoder_decoder:
            raise UsageError(
                f"the probe of repeated tokens is for models of one stack, {loaded.name} has an encoder and a decoder: "
                "take an encoder or a decoder-only model"
            )
        tokenizer = loaded.tokenizer
        if tokenizer is None:
            raise UsageError("this model was given without a tokenizer, which says what is an ordinary token: pass one")
        special = set(tokenizer.all_special_ids) | set(tokenizer.get_added_vocab().values())
        limit = getattr(loaded.model.get_input_embeddings(), "num_embeddings", None) or len(tokenizer)
        ordinary = {
            number
            for piece, number in tokenizer.get_vocab().items()
            if number < limit and number not in special and not _MARKED.fullmatch(str(piece))
        }
        return cls(loaded, np.array(sorted(ordinary)), *_frame(tokenizer))

    def batches(self, length: int, seeds: Sequence[int], batch_tokens: int, again: bool = True) -> Iterator[Batch]:
        """START r r END for each seed, r of `length` different tokens; without `again` the second r in another order.

        Raises `UsageError` where the model reads fewer tokens, or the vocabulary has fewer.
        """
        total = len(self.start) + 2 * length + len(self.end)
        self._check(length, total)
        made = np.array([self._sequence(length, seed, again) for seed in seeds])
        step = max(1, batch_tokens // total)
        for first in range(0, len(made), step):
            ids = torch.from_numpy(made[first : first + step])
            batch = batch_from_tensors(self.loaded, {"input_ids": ids, "attention_mask": torch.ones_like(ids)})
            yield replace(batch, inputs=tuple(replace(one, index=first + one.index) for one in batch.inputs))

    def _sequence(self, length: int, seed: int, again: bool) -> list[int]:
        rng = np.random.default_rng(seed)
        once = rng.choice(self.vocabulary, length, replace=False)
        twice = once if again else rng.permutation(once)
        return [*self.start, *once.tolist(), *twice.tolist(), *self.end]

    def _check(self, length: int, total: int) -> None:
        limit, around = self.loaded.max_positions, total - 2 * length
        most = len(self.vocabulary) if limit is None else min(len(self.vocabulary), (limit - around) // 2)
        if length <= most:
            return
        if limit is not None and total > limit:
            what = f"{total} tokens ({around} special, 2 x {length} random), the model reads at most {limit}"
        else:
            what = f"{length} different ordinary tokens, the tokenizer has {len(self.vocabulary)}"
        advice = f"pass --length {most} or less" if most > 1 else "take another model"
        raise UsageError(f"the probe of repeated tokens needs {what}: {advice}")


def _frame(tokenizer: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The special tokens before and behind a text; the beginning of sequence also where the tokenizer leaves it out."""
    special = set(tokenizer.all_special_ids) - {getattr(tokenizer, "unk_token_id", None)}
    ids = list(tokenizer("a")["input_ids"])
    inner = [at for at, number in enumerate(ids) if number not in special] or [0]
    start, end = tuple(ids[: inner[0]]), tuple(ids[inner[-1] + 1 :])
    named = (getattr(tokenizer, name, None) for name in ("bos_token_id", "cls_token_id"))
    return start or tuple(number for number in named if number is not None)[:1], end
