"""Texts into batches of equal length, each text checked before the first batch is made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from attncli.data import Input, Text, Tokens
from attncli.encoding.batches import Batch
from attncli.encoding.chat import chat_segments, render_chat
from attncli.encoding.targets import append_generated, encode_target
from attncli.encoding.tokens import tokens_of
from attncli.errors import UsageError
from attncli.models import Loaded

TOKENS_PER_BATCH = 4096


@dataclass(frozen=True, eq=False)
class _Encoded:
    input: Input
    tensors: dict[str, list[int]]
    notes: tuple[str, ...] = ()


def encode(
    loaded: Loaded, texts: Sequence[Text], *, max_tokens: int | None = None, generate: int = 0
) -> Iterator[Batch]:
    """Batches of texts with equally many tokens: no padding, so that each text gives exactly what it gives alone.

    Every text is checked before the first batch is made. Raises `UsageError` for empty and over-long texts.
    """
    if loaded.tokenizer is None:
        raise UsageError("this model was given without a tokenizer: pass one, or encoded inputs")
    encoded = [_encode_one(loaded, index, text, max_tokens, generate) for index, text in enumerate(texts)]
    groups: dict[tuple[int, ...], list[_Encoded]] = {}
    for one in encoded:
        groups.setdefault(tuple(len(ids) for ids in one.tensors.values()), []).append(one)
    for lengths, members in groups.items():
        step = max(1, TOKENS_PER_BATCH // max(lengths))
        for start in range(0, len(members), step):
            yield _collate(loaded, members[start : start + step])


def _encode_one(loaded: Loaded, index: int, text: Text, max_tokens: int | None, generate: int) -> _Encoded:
    tensors, source = _encode_source(loaded, index, text, max_tokens)
    _check_length(loaded, index, len(source), max_tokens)
    if loaded.is_encoder_decoder:
        target, notes = encode_target(loaded, index, text, tensors, max_tokens, generate)
        _check_length(loaded, index, len(target), max_tokens)
        tensors["decoder_input_ids"] = target.ids.tolist()
        return _Encoded(Input(index, text, source, target), tensors, notes)
    if generate:
        tensors, source = append_generated(loaded, tensors, source, generate)
        _check_length(loaded, index, len(source), None)
    return _Encoded(Input(index, text, source), tensors)


def _encode_source(
    loaded: Loaded, index: int, text: Text, max_tokens: int | None
) -> tuple[dict[str, list[int]], Tokens]:
    tokenizer = loaded.tokenizer
    string, add_special = text.text, True
    if text.messages:
        string, add_special = render_chat(tokenizer, text), False
    if not string.strip():
        raise UsageError(f"text {index} is empty; give at least one word")
    options: dict[str, Any] = {"add_special_tokens": add_special, "return_attention_mask": True, "verbose": False}
    if getattr(tokenizer, "is_fast", False):
        options["return_offsets_mapping"] = True
    if max_tokens is not None:
        options |= {"truncation": True, "max_length": max_tokens}
    found = tokenizer(string, text.pair, **options) if text.pair is not None else tokenizer(string, **options)
    if not found["input_ids"]:
        raise UsageError(f"text {index} has no tokens for this tokenizer; give another text")
    whole = string if text.pair is None else f"{string}\n{text.pair}"
    tokens = tokens_of(tokenizer, found["input_ids"], found, whole, pair_at=len(string) + 1)
    if text.messages:
        tokens = replace(tokens, segments=chat_segments(tokenizer, text, string, tokens))
    tensors = {name: list(found[name]) for name in ("input_ids", "attention_mask", "token_type_ids") if name in found}
    return tensors, tokens


def _check_length(loaded: Loaded, index: int, tokens: int, max_tokens: int | None) -> None:
    limit = loaded.max_positions
    if limit is not None and tokens > limit and (max_tokens is None or max_tokens > limit):
        raise UsageError(
            f"text {index} has {tokens} tokens, the model reads at most {limit}; "
            f"shorten it or pass --max-tokens {limit}"
        )


def _collate(loaded: Loaded, members: Sequence[_Encoded]) -> Batch:
    names = members[0].tensors
    tensors = {name: torch.tensor([one.tensors[name] for one in members], device=loaded.device) for name in names}
    target = tensors.get("decoder_input_ids")
    return Batch(
        inputs=tuple(one.input for one in members),
        tensors=tensors,
        source_mask=torch.ones_like(tensors["input_ids"], dtype=torch.bool),
        target_mask=None if target is None else torch.ones_like(target, dtype=torch.bool),
        notes=tuple(note for one in members for note in one.notes),
    )
