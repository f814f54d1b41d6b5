"""Encoding of texts and chats into batches of equal length; all texts are checked before the first batch."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np
import torch

from attncli.data import Input, Text, Tokens
from attncli.errors import ModelError, TextError, UsageError
from attncli.inputs.batches import Batch
from attncli.inputs.notes import input_notes
from attncli.inputs.start_token import start_token, with_start
from attncli.inputs.targets import ASSISTANT, Encoded, add_answers, add_targets, check_length
from attncli.inputs.token_reader import TokenReader
from attncli.models import Loaded
from attncli.vocabulary import BATCH_TOKENS

TEXTS_PER_CALL = 256
"""Number of texts per call of the tokenizer."""


def encode(
    loaded: Loaded,
    texts: Sequence[Text],
    *,
    max_tokens: int | None = None,
    generate: int = 0,
    add_bos: bool = False,
    batch_tokens: int = BATCH_TOKENS,
    in_order: bool = False,
    open_turn: bool = False,
    first: int = 0,
    on_generated: Callable[[float], None] = lambda texts: None,
) -> Iterator[Batch]:
    """Yield batches of texts with the same number of tokens; without padding each text gives the result it gives alone.

    max_tokens    length to which longer texts are cut; None: do not cut
    generate      number of tokens that the model writes after each text, or as a missing target
    add_bos       whether texts begin with the start token also where the tokenizer adds none
    batch_tokens  largest number of tokens in a batch, unless a single text has more
    in_order      whether batches follow the order of the texts, so that only neighbours share one
    open_turn     whether a chat ends where the assistant is to answer, as it does with `generate`
    first         number of the first text
    on_generated  is called with 1 for each text for which the model wrote a target or an answer

    Every text is checked before the model generates anything and before the first batch. Raises `UsageError` if a text
    is empty or too long.
    """
    if loaded.tokenizer is None:
        raise UsageError("this model has no tokenizer: pass a tokenizer, or encoded inputs")
    start = start_token(loaded.tokenizer) if add_bos else None
    encoded = _encode_sources(loaded, texts, max_tokens, generate, start, open_turn, first)
    if loaded.is_encoder_decoder:
        encoded = add_targets(loaded, encoded, max_tokens, generate, on_generated)
    elif generate:
        encoded = add_answers(loaded, encoded, generate, on_generated)
    if notes := input_notes(loaded, [item.input for item in encoded]):
        encoded[0] = replace(encoded[0], notes=(*encoded[0].notes, *notes))
    if not in_order:
        first_of_length = {_lengths(item): item.input.index for item in reversed(encoded)}
        encoded.sort(key=lambda item: first_of_length[_lengths(item)])
    for lengths, group in groupby(encoded, _lengths):
        members = list(group)
        step = max(1, batch_tokens // max(lengths))
        for start in range(0, len(members), step):
            yield _collate(loaded, members[start : start + step])


def _lengths(item: Encoded) -> tuple[int, ...]:
    """Return the number of tokens on each side of an encoded text."""
    return tuple(len(ids) for ids in item.tensors.values())


def _encode_sources(
    loaded: Loaded,
    texts: Sequence[Text],
    max_tokens: int | None,
    generate: int,
    start: int | None,
    open_turn: bool,
    first: int,
) -> list[Encoded]:
    """Return the input of the encoder or the decoder-only model for each text, checked for length."""
    reader, answer_tokens = TokenReader(loaded.tokenizer), 0 if loaded.is_encoder_decoder else generate
    tokenize = partial(_tokenize, loaded, reader, answer=open_turn or answer_tokens > 0, start=start)
    encoded: list[Encoded] = []
    for _, group in groupby(texts, lambda text: (text.pair is None, bool(text.messages))):
        alike = list(group)
        for start in range(0, len(alike), TEXTS_PER_CALL):
            chunk = alike[start : start + TEXTS_PER_CALL]
            encoded += tokenize(first + len(encoded), chunk, max_tokens)
    _check_lengths(encoded, loaded.max_positions, answer_tokens)
    if (limit := loaded.sentence.limit) is not None:
        encoded = [_with_sentence_limit(limit, tokenize, item, max_tokens is None) for item in encoded]
    return encoded


def _check_lengths(encoded: Sequence[Encoded], limit: int | None, answer_tokens: int) -> None:
    """Raise TextError for the first text that is too long, with those of all others."""
    errors = []
    for item in encoded:
        try:
            check_length(item.input.index, len(item.input.source), limit, answer_tokens)
        except TextError as error:
            errors.append(error)
    if errors:
        errors[0].others = tuple(errors[1:])
        raise errors[0]


def _with_sentence_limit(limit: int, tokenize: Callable[..., Iterator[Encoded]], item: Encoded, cut: bool) -> Encoded:
    """Return a text with a note if sentence-transformers would cut it, and cut it the same way if `cut` says so."""
    index, tokens = item.input.index, len(item.input.source)
    if tokens <= limit:
        return item
    about = f"text {index} has {tokens} tokens; sentence-transformers cuts it to {limit} (max_seq_length)"
    if not cut:
        return replace(item, notes=(*item.notes, f"{about}, attncli does not"))
    (shorter,) = tokenize(index, [item.input.text], limit)
    return replace(shorter, notes=(*item.notes, f"{about}, and so does attncli: --max-tokens {tokens} reads all"))


def _tokenize(
    loaded: Loaded,
    reader: TokenReader,
    first: int,
    texts: Sequence[Text],
    max_tokens: int | None,
    *,
    answer: bool,
    start: int | None,
) -> Iterator[Encoded]:
    """Yield texts encoded in one call of the tokenizer; either all are chats or none, all are pairs or none.

    answer  whether the model writes an answer
    start   start token that texts begin with; None for what the tokenizer does
    """
    tokenizer: Any = loaded.tokenizer
    chats = bool(texts[0].messages)
    strings = [_render_chat(tokenizer, text, answer=answer) if chats else text.text for text in texts]
    for index, string in enumerate(strings, first):
        if not string.strip():
            raise TextError(f"text {index} is empty; give at least one word", index)
    options: dict[str, Any] = {"add_special_tokens": not chats, "return_attention_mask": True, "verbose": False}
    if max_tokens is not None:
        begins = start is None or tokenizer(strings[0], **options)["input_ids"][:1] == [start]
        options |= {"truncation": True, "max_length": max_tokens if begins else max(1, max_tokens - 1)}
    pairs = None if texts[0].pair is None else [text.pair for text in texts]
    output = tokenizer(strings, pairs, **options)
    encodings = getattr(output, "encodings", None) or [None] * len(texts)
    names = [name for name in ("input_ids", "attention_mask", "token_type_ids") if name in output]
    for row, (text, string, encoding) in enumerate(zip(texts, strings, encodings, strict=True)):
        if not output["input_ids"][row]:
            index = first + row
            raise TextError(f"text {index} has no tokens for this tokenizer; give another text", index)
        joined = string if text.pair is None else f"{string}\n{text.pair}"
        tokens = reader.tokens(output["input_ids"][row], encoding, joined, pair_start=len(string) + 1)
        if chats:
            tokens = replace(tokens, segments=_chat_segments(tokenizer, text, string, tokens, answer))
        item = Encoded(Input(first + row, text, tokens), {name: np.asarray(output[name][row]) for name in names})
        yield item if start is None else with_start(reader, start, item)


def _render_chat(tokenizer: Any, text: Text, turns: int | None = None, answer: bool = False) -> str:
    """Return the first `turns` messages of a chat (None: all) as text, by the chat template of the tokenizer.

    answer  whether to open the turn of the assistant, so that the model can write it; if the last message is from the
            assistant, its turn stays open instead, so that the model continues it
    """
    if not getattr(tokenizer, "chat_template", None):
        raise ModelError("this tokenizer has no chat template; give --text instead of --chat")
    messages = [dict(message) for message in text.messages[:turns]]
    continues = answer and messages[-1]["role"] == ASSISTANT
    options = {"add_generation_prompt": answer and not continues, "continue_final_message": continues}
    try:
        return str(tokenizer.apply_chat_template(messages, tokenize=False, **options))
    except Exception as error:  # a template is a program of the model's author and may raise anything
        raise UsageError(f"the model's chat template refuses these messages: {error}") from error


def _chat_segments(tokenizer: Any, text: Text, rendered: str, tokens: Tokens, answer: bool) -> tuple[str, ...]:
    """Return the role of each token, found by rendering the first 1, 2, … messages.

    answer  whether the text after the last message opens the turn of the assistant
    """
    ends = []
    for turn in range(1, len(text.messages) + 1):
        try:
            part = _render_chat(tokenizer, text, turn)
        except UsageError:
            part = ""  # some templates refuse a single message: its tokens get the role of the next one
        ends.append(_common_prefix_length(part, rendered))
    roles = [message["role"] for message in text.messages]
    last = ASSISTANT if answer else roles[-1]
    return tuple(
        "" if start < 0 else next((role for role, end in zip(roles, ends, strict=True) if start < end), last)
        for start, _ in tokens.offsets.tolist()
    )


def _common_prefix_length(a: str, b: str) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _collate(loaded: Loaded, items: Sequence[Encoded]) -> Batch:
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
