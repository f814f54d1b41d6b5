"""Texts into batches of equal length, each text checked before the first batch is made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np
import torch

from attncli.data import Array, Input, Text
from attncli.errors import UsageError
from attncli.inputs.batches import Batch
from attncli.inputs.chat_template import chat_segments, render_chat
from attncli.inputs.targets import given_target, with_answer, written_target
from attncli.inputs.tokens import TokenReader
from attncli.models import Loaded

BATCH_TOKENS = 4096
AT_ONCE = 256
"""How many texts a tokenizer gets in one call."""


@dataclass(frozen=True, eq=False)
class _Encoded:
    input: Input
    tensors: dict[str, Array]
    notes: tuple[str, ...] = ()


def encode(
    loaded: Loaded,
    texts: Sequence[Text],
    *,
    max_tokens: int | None = None,
    generate: int = 0,
    batch_tokens: int = BATCH_TOKENS,
    written: Callable[[float], None] = lambda texts: None,
) -> Iterator[Batch]:
    """Batches of texts with equally many tokens: no padding, so that each text gives exactly what it gives alone.

    batch_tokens  a batch holds no more, unless one text alone does
    written       hears of each text for which the model has written a target or an answer
    Every text is checked before the model writes anything and before the first batch is made. Raises `UsageError` for
    empty and over-long texts.
    """
    if loaded.tokenizer is None:
        raise UsageError("this model was given without a tokenizer: pass one, or encoded inputs")
    encoded = _encoded(loaded, texts, max_tokens, generate)
    if loaded.is_encoder_decoder:
        encoded = _with_targets(loaded, encoded, max_tokens, generate, written)
    elif generate:
        encoded = _with_answers(loaded, encoded, generate, written)
    groups: dict[tuple[int, ...], list[_Encoded]] = {}
    for one in encoded:
        groups.setdefault(tuple(len(ids) for ids in one.tensors.values()), []).append(one)
    for lengths, members in groups.items():
        step = max(1, batch_tokens // max(lengths))
        for start in range(0, len(members), step):
            yield _collate(loaded, members[start : start + step])


def _encoded(loaded: Loaded, texts: Sequence[Text], max_tokens: int | None, generate: int) -> list[_Encoded]:
    """What an encoder or a decoder-only model is to read, as long as it may be."""
    namer, limit = TokenReader(loaded.tokenizer), loaded.max_positions
    answer = 0 if loaded.is_encoder_decoder else generate
    found: list[_Encoded] = []
    for _, group in groupby(texts, lambda text: (text.pair is None, bool(text.messages))):
        alike = list(group)
        for start in range(0, len(alike), AT_ONCE):
            found += _tokenized(loaded, namer, len(found), alike[start : start + AT_ONCE], max_tokens, answer > 0)
    for one in found:
        _check_length(one.input.index, len(one.input.source), limit, answer)
    return found


def _tokenized(
    loaded: Loaded, namer: TokenReader, first: int, texts: Sequence[Text], max_tokens: int | None, answer: bool
) -> Iterator[_Encoded]:
    """Texts that are all chats or none, all pairs or none, in one call of the tokenizer."""
    tokenizer: Any = loaded.tokenizer
    chats = bool(texts[0].messages)
    strings = [render_chat(tokenizer, text, answer=answer) if chats else text.text for text in texts]
    for index, string in enumerate(strings, first):
        if not string.strip():
            raise UsageError(f"text {index} is empty; give at least one word")
    options: dict[str, Any] = {"add_special_tokens": not chats, "return_attention_mask": True, "verbose": False}
    if max_tokens is not None:
        options |= {"truncation": True, "max_length": max_tokens}
    pairs = None if texts[0].pair is None else [text.pair for text in texts]
    found = tokenizer(strings, pairs, **options)
    encodings = getattr(found, "encodings", None) or [None] * len(texts)
    names = [name for name in ("input_ids", "attention_mask", "token_type_ids") if name in found]
    for at, (text, string, encoding) in enumerate(zip(texts, strings, encodings, strict=True)):
        if not found["input_ids"][at]:
            raise UsageError(f"text {first + at} has no tokens for this tokenizer; give another text")
        whole = string if text.pair is None else f"{string}\n{text.pair}"
        tokens = namer.tokens(found["input_ids"][at], encoding, whole, pair_at=len(string) + 1)
        if chats:
            tokens = replace(tokens, segments=chat_segments(tokenizer, text, string, tokens, answer))
        yield _Encoded(Input(first + at, text, tokens), {name: np.asarray(found[name][at]) for name in names})


def _with_targets(
    loaded: Loaded,
    encoded: list[_Encoded],
    max_tokens: int | None,
    generate: int,
    written: Callable[[float], None],
) -> list[_Encoded]:
    """With what the decoder reads: given, or written by the model."""
    namer, limit = TokenReader(loaded.target_tokenizer), loaded.max_positions
    if generate and limit is not None and generate >= limit:
        raise UsageError(f"--generate {generate}: the decoder reads at most {limit}; pass --generate {limit - 1}")
    targets = {}
    for one in encoded:
        if one.input.text.target is not None:
            targets[one.input.index] = given_target(loaded, namer, one.input, max_tokens)
            _check_length(one.input.index, len(targets[one.input.index]), limit, what="a target of ")
    done = []
    for one in encoded:
        target, notes = targets.get(one.input.index), one.notes
        if target is None:
            target = written_target(loaded, namer, one.tensors, generate)
            notes = (f"text {one.input.index}: no target given, the model generated: {target.text!r}",)
            written(1)
        tensors = {**one.tensors, "decoder_input_ids": target.ids}
        done.append(_Encoded(replace(one.input, target=target), tensors, notes))
    return done


def _with_answers(
    loaded: Loaded, encoded: list[_Encoded], count: int, written: Callable[[float], None]
) -> list[_Encoded]:
    """With what a decoder-only model writes after each text."""
    namer, done = TokenReader(loaded.tokenizer), []
    for one in encoded:
        tensors, source = with_answer(loaded, namer, one.tensors, one.input.source, count)
        done.append(_Encoded(replace(one.input, source=source), tensors))
        written(1)
    return done


def _check_length(index: int, tokens: int, limit: int | None, generate: int = 0, what: str = "") -> None:
    if limit is None or tokens + generate <= limit:
        return
    if not generate:
        raise UsageError(
            f"text {index} has {what}{tokens} tokens, the model reads at most {limit}; "
            f"shorten it or pass --max-tokens {limit}"
        )
    advice = "a smaller --generate" if limit <= generate else f"--max-tokens {limit - generate} or a smaller --generate"
    raise UsageError(
        f"text {index} has {tokens} tokens, with --generate {generate} that makes {tokens + generate}, "
        f"the model reads at most {limit}; shorten it or pass {advice}"
    )


def _collate(loaded: Loaded, members: Sequence[_Encoded]) -> Batch:
    names = members[0].tensors
    tensors = {name: _stacked([one.tensors[name] for one in members]).to(loaded.device) for name in names}
    target = tensors.get("decoder_input_ids")
    return Batch(
        inputs=tuple(one.input for one in members),
        tensors=tensors,
        source_mask=torch.ones_like(tensors["input_ids"], dtype=torch.bool),
        target_mask=None if target is None else torch.ones_like(target, dtype=torch.bool),
        notes=tuple(note for one in members for note in one.notes),
    )


def _stacked(rows: Sequence[Array]) -> torch.Tensor:
    return torch.from_numpy(np.stack(rows))
