"""Encoding of texts into batches of equal length; all texts are checked before the first batch."""

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
from attncli.inputs.targets import append_answer, encode_target, generate_target
from attncli.inputs.tokens import TokenReader
from attncli.models import Loaded

BATCH_TOKENS = 4096
TEXTS_PER_CALL = 256
"""Number of texts per call of the tokenizer."""


@dataclass(frozen=True, eq=False)
class _Encoded:
    """One encoded text: its tokens, the arguments of the forward pass, and notes for the user."""

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
    on_generated: Callable[[float], None] = lambda texts: None,
) -> Iterator[Batch]:
    """Yield batches of texts with the same number of tokens; without padding each text gives the result it gives alone.

    max_tokens    length to which longer texts are cut; None: do not cut
    generate      number of tokens that the model writes after each text, or as a missing target
    batch_tokens  largest number of tokens in a batch, unless a single text has more
    on_generated  is called with 1 for each text for which the model wrote a target or an answer

    Every text is checked before the model generates anything and before the first batch. Raises `UsageError` if a text
    is empty or too long.
    """
    if loaded.tokenizer is None:
        raise UsageError("this model has no tokenizer: pass a tokenizer, or encoded inputs")
    encoded = _encode_sources(loaded, texts, max_tokens, generate)
    if loaded.is_encoder_decoder:
        encoded = _add_targets(loaded, encoded, max_tokens, generate, on_generated)
    elif generate:
        encoded = _add_answers(loaded, encoded, generate, on_generated)
    groups: dict[tuple[int, ...], list[_Encoded]] = {}
    for item in encoded:
        groups.setdefault(tuple(len(ids) for ids in item.tensors.values()), []).append(item)
    for lengths, members in groups.items():
        step = max(1, batch_tokens // max(lengths))
        for start in range(0, len(members), step):
            yield _collate(loaded, members[start : start + step])


def _encode_sources(loaded: Loaded, texts: Sequence[Text], max_tokens: int | None, generate: int) -> list[_Encoded]:
    """Return the input of the encoder or the decoder-only model for each text, checked for length."""
    reader, answer_tokens = TokenReader(loaded.tokenizer), 0 if loaded.is_encoder_decoder else generate
    encoded: list[_Encoded] = []
    for _, group in groupby(texts, lambda text: (text.pair is None, bool(text.messages))):
        alike = list(group)
        for start in range(0, len(alike), TEXTS_PER_CALL):
            chunk = alike[start : start + TEXTS_PER_CALL]
            encoded += _tokenize(loaded, reader, len(encoded), chunk, max_tokens, answer_tokens > 0)
    for item in encoded:
        _check_length(item.input.index, len(item.input.source), loaded.max_positions, answer_tokens)
    return encoded


def _tokenize(
    loaded: Loaded, reader: TokenReader, first: int, texts: Sequence[Text], max_tokens: int | None, answer: bool
) -> Iterator[_Encoded]:
    """Yield texts encoded in one call of the tokenizer; either all are chats or none, all are pairs or none."""
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
    output = tokenizer(strings, pairs, **options)
    encodings = getattr(output, "encodings", None) or [None] * len(texts)
    names = [name for name in ("input_ids", "attention_mask", "token_type_ids") if name in output]
    for row, (text, string, encoding) in enumerate(zip(texts, strings, encodings, strict=True)):
        if not output["input_ids"][row]:
            raise UsageError(f"text {first + row} has no tokens for this tokenizer; give another text")
        joined = string if text.pair is None else f"{string}\n{text.pair}"
        tokens = reader.tokens(output["input_ids"][row], encoding, joined, pair_start=len(string) + 1)
        if chats:
            tokens = replace(tokens, segments=chat_segments(tokenizer, text, string, tokens, answer))
        yield _Encoded(Input(first + row, text, tokens), {name: np.asarray(output[name][row]) for name in names})


def _add_targets(
    loaded: Loaded,
    encoded: list[_Encoded],
    max_tokens: int | None,
    generate: int,
    on_generated: Callable[[float], None],
) -> list[_Encoded]:
    """Return the texts with the input of the decoder: the given target, or one that the model generates."""
    reader, limit = TokenReader(loaded.target_tokenizer), loaded.max_positions
    if generate and limit is not None and generate >= limit:
        raise UsageError(f"--generate {generate}: the decoder reads at most {limit}; pass --generate {limit - 1}")
    targets = {}
    for item in encoded:
        index = item.input.index
        if item.input.text.target is not None:
            targets[index] = encode_target(loaded, reader, item.input, max_tokens)
            _check_length(index, len(targets[index]), limit, what="a target of ")
    completed = []
    for item in encoded:
        target, notes = targets.get(item.input.index), item.notes
        if target is None:
            target = generate_target(loaded, reader, item.tensors, generate)
            notes = (f"text {item.input.index}: no target given, the model generated: {target.text!r}",)
            on_generated(1)
        tensors = {**item.tensors, "decoder_input_ids": target.ids}
        completed.append(_Encoded(replace(item.input, target=target), tensors, notes))
    return completed


def _add_answers(
    loaded: Loaded, encoded: list[_Encoded], count: int, on_generated: Callable[[float], None]
) -> list[_Encoded]:
    """Return the texts with what a decoder-only model writes after each."""
    reader, completed = TokenReader(loaded.tokenizer), []
    for item in encoded:
        tensors, source = append_answer(loaded, reader, item.tensors, item.input.source, count)
        completed.append(_Encoded(replace(item.input, source=source), tensors))
        on_generated(1)
    return completed


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


def _collate(loaded: Loaded, items: Sequence[_Encoded]) -> Batch:
    tensors = {
        name: torch.from_numpy(np.stack([item.tensors[name] for item in items])).to(loaded.device)
        for name in items[0].tensors
    }
    target = tensors.get("decoder_input_ids")
    return Batch(
        inputs=tuple(item.input for item in items),
        tensors=tensors,
        source_mask=torch.ones_like(tensors["input_ids"], dtype=torch.bool),
        target_mask=None if target is None else torch.ones_like(target, dtype=torch.bool),
        notes=tuple(note for item in items for note in item.notes),
    )
