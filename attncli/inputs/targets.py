"""Input of decoders: a given target, or text that the model generates, which has a segment name."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from attncli.data import Array, Input, Tokens
from attncli.data.segments import GENERATED
from attncli.errors import ModelError, TextError, UsageError
from attncli.inputs.generation import generate_ids, own_decoder_ids
from attncli.inputs.partitions import PROMPT
from attncli.inputs.token_reader import TokenReader
from attncli.models import Loaded

ASSISTANT = "assistant"
"""The role of a chat whose messages the model writes."""
GENERATED_TARGET = 64
"""Largest number of tokens that a decoder generates if neither a target nor --generate is given."""

_NOTED_ANSWERS, _LONGEST_NOTE = 3, 200
"""Number of texts whose answers are shown in a note each, and the characters that a note shows."""


@dataclass(frozen=True, eq=False)
class Encoded:
    """One encoded text: its tokens, the arguments of the forward pass, and notes for the user."""

    input: Input
    tensors: dict[str, Array]
    notes: tuple[str, ...] = ()


def add_targets(
    loaded: Loaded,
    encoded: Sequence[Encoded],
    max_tokens: int | None,
    generate: int,
    on_generated: Callable[[float], None],
) -> list[Encoded]:
    """Return the texts with the input of the decoder: the given target, or one that the model generates.

    generate  number of tokens to generate; 0 for `GENERATED_TARGET` tokens

    A model that writes no text, such as a classifier, gets the input that it gives its decoder by itself.
    """
    reader, limit = TokenReader(loaded.target_tokenizer), loaded.max_positions
    if generate and limit is not None and generate >= limit:
        raise UsageError(f"--generate {generate}: the decoder reads at most {limit}; pass --generate {limit - 1}")
    targets = [_given_target(loaded, reader, item.input, max_tokens) for item in encoded]
    completed = []
    for item, target in zip(encoded, targets, strict=True):
        notes = item.notes
        if target is None:
            target, note = _own_target(loaded, reader, item, generate)
            notes = (*notes, f"text {item.input.index}: no target given, {note}")
            on_generated(1)
        tensors = {**item.tensors, "decoder_input_ids": target.ids}
        completed.append(Encoded(replace(item.input, target=target), tensors, notes))
    return completed


def add_answers(
    loaded: Loaded, encoded: Sequence[Encoded], count: int, on_generated: Callable[[float], None]
) -> list[Encoded]:
    """Return the texts with up to `count` tokens that a decoder-only model writes after each."""
    reader, completed = TokenReader(loaded.tokenizer), []
    for number, item in enumerate(encoded):
        source = item.input.source
        answer = reader.tokens(generate_ids(loaded, item.input, item.tensors, count)[len(source) :])
        notes = item.notes
        if answer.special.all():
            notes = (*notes, _no_answer(item.input, answer))
        elif number < _NOTED_ANSWERS:
            text = loaded.tokenizer.decode(answer.ids.tolist(), skip_special_tokens=True)
            others = len(encoded) - number - 1 if number == _NOTED_ANSWERS - 1 else 0
            more = f" (and more after {others} other texts)" if others else ""
            notes = (*notes, f"text {item.input.index}: {_generated_note(text)}{more}")
        prompt = source.segments if any(source.segments) else (PROMPT,) * len(source)
        both = append_tokens(replace(source, segments=prompt), replace(answer, segments=(GENERATED,) * len(answer)))
        tensors = {name: np.append(values, [values[-1]] * len(answer)) for name, values in item.tensors.items()}
        completed.append(Encoded(replace(item.input, source=both), {**tensors, "input_ids": both.ids}, notes))
        on_generated(1)
    return completed


def _no_answer(prompt: Input, answer: Tokens) -> str:
    """Return a note that the model wrote no text after a prompt, with the reason if the prompt is a finished chat."""
    wrote = f"only {' '.join(answer.pieces)}" if len(answer) else "nothing"
    note = f"text {prompt.index}: the model wrote no text after it, {wrote}"
    messages = prompt.text.messages
    if not messages or messages[-1]["role"] != ASSISTANT:
        return note
    return (
        f"{note}: the chat ends with the answer of the {ASSISTANT}, which the model takes as complete; "
        "remove that message to let it write one, or leave --generate out"
    )


def append_tokens(first: Tokens, second: Tokens) -> Tokens:
    """Return the tokens of the first text followed by those of the second, whose words get numbers of their own."""
    words = np.where(second.words >= 0, second.words + first.words.max(initial=-1) + 1, -1)
    return replace(
        first,
        pieces=first.pieces + second.pieces,
        segments=first.segments + second.segments,
        words=np.concatenate([first.words, words]),
        ids=np.concatenate([first.ids, second.ids]),
        special=np.concatenate([first.special, second.special]),
        offsets=np.concatenate([first.offsets, second.offsets]),
    )


def check_length(index: int, tokens: int, limit: int | None, generate: int = 0, what: str = "") -> None:
    """Raise TextError if a text and the tokens that the model writes after it are more than `limit` tokens."""
    if limit is None or tokens + generate <= limit:
        return
    if not generate:
        raise TextError(
            f"text {index} has {what}{tokens} tokens, the model reads at most {limit}; "
            f"shorten it or pass --max-tokens {limit}",
            index,
        )
    advice = "a smaller --generate" if limit <= generate else f"--max-tokens {limit - generate} or a smaller --generate"
    raise TextError(
        f"text {index} has {tokens} tokens, with --generate {generate} that makes {tokens + generate}, "
        f"the model reads at most {limit}; shorten it or pass {advice}",
        index,
    )


def _given_target(loaded: Loaded, reader: TokenReader, given: Input, max_tokens: int | None) -> Tokens | None:
    """Return the input of the decoder for the target of a given text, as in training; None without a target."""
    text = given.text.target
    if text is None:
        return None
    if not text.strip():
        raise UsageError(f"the target of text {given.index} is empty; leave --target out to let the model write one")
    options: dict[str, Any] = {} if max_tokens is None else {"truncation": True, "max_length": max_tokens}
    output = loaded.target_tokenizer(text_target=text, **options)
    labels = list(output["input_ids"])
    encoding = next(iter(getattr(output, "encodings", None) or []), None)
    ids = shift_right(loaded, labels)
    target = append_tokens(
        replace(reader.tokens(ids[:1]), text=text), reader.tokens(labels, encoding, text).take(range(len(labels) - 1))
    )
    if target.ids.tolist() != ids:  # the model does more than shift: its ids have no offsets
        target = reader.tokens(ids, text=text)
    check_length(given.index, len(target), loaded.max_positions, what="a target of ")
    return target


def _own_target(loaded: Loaded, reader: TokenReader, item: Encoded, generate: int) -> tuple[Tokens, str]:
    """Return the input of the decoder without a given target, and a note that says where it comes from."""
    if not generate and not loaded.model.can_generate() and (ids := own_decoder_ids(loaded, item.tensors)):
        target = reader.tokens(ids, text=loaded.target_tokenizer.decode(ids, skip_special_tokens=True))
        return target, f"the decoder reads the text itself, as {type(loaded.model).__name__} does"
    target = _generated_target(loaded, reader, item, generate)
    if not target.text.strip():
        return target, "the model generated an empty one"
    return target, _generated_note(target.text)


def _generated_note(text: str) -> str:
    """Return a note that shows what the model wrote, escaped, and cut if it is long."""
    shown = text if len(text) <= _LONGEST_NOTE else f"{text[: _LONGEST_NOTE - 1]}…"
    return f"the model generated: {shown!r}"


def _generated_target(loaded: Loaded, reader: TokenReader, item: Encoded, generate: int) -> Tokens:
    """Return the input of the decoder that generates up to `generate` tokens: start token and these, no end token."""
    limit = loaded.max_positions
    default = GENERATED_TARGET if limit is None else max(1, min(GENERATED_TARGET, limit - 1))
    ids = generate_ids(loaded, item.input, item.tensors, generate or default)
    ends = loaded.model.generation_config.eos_token_id
    if len(ids) > 1 and ids[-1] in (ends if isinstance(ends, list) else [ends]):
        ids = ids[:-1]
    target = reader.tokens(ids, text=loaded.target_tokenizer.decode(ids, skip_special_tokens=True))
    return replace(target, segments=("", *[GENERATED] * (len(ids) - 1)))


def shift_right(loaded: Loaded, labels: list[int]) -> list[int]:
    """Return the input of the decoder for these labels in training: a start token, then all but the last label."""
    shift = getattr(loaded.model, "prepare_decoder_input_ids_from_labels", None)
    try:
        if shift is not None:
            return list(shift(labels=torch.tensor([labels], device=loaded.device))[0].tolist())
    except (AttributeError, TypeError, ValueError):
        pass  # the configuration names no start or padding token
    holders = (loaded.model.config, getattr(loaded.model, "generation_config", None), loaded.target_tokenizer)
    for name in ("decoder_start_token_id", "bos_token_id", "pad_token_id", "eos_token_id"):
        for holder in holders:
            value = getattr(holder, name, None)
            if isinstance(value, int):
                return [value, *labels[:-1]]
    raise ModelError(
        f"model '{loaded.name}' names no start token for its decoder: expected decoder_start_token_id in its config"
    )
