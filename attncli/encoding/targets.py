"""What a decoder reads: a target that was given, or what the model writes itself."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch

from attncli.data import Text, Tokens
from attncli.encoding.batches import accepted
from attncli.encoding.tokens import tokens_of
from attncli.errors import ModelError, UsageError
from attncli.models import Loaded

GENERATED_TARGET = 64
"""How many tokens a decoder may write itself where no target and no --generate is given."""


def encode_target(
    loaded: Loaded,
    index: int,
    text: Text,
    tensors: dict[str, list[int]],
    max_tokens: int | None,
    generate: int,
) -> tuple[Tokens, tuple[str, ...]]:
    tokenizer = loaded.target_tokenizer
    if text.target is None:
        ids = _generate(loaded, tensors, generate or GENERATED_TARGET, option="--target")
        target = tokens_of(tokenizer, ids, text=tokenizer.decode(ids, skip_special_tokens=True))
        return target, (f"text {index}: no target given, the model generated: {target.text!r}",)
    if not text.target.strip():
        raise UsageError(f"the target of text {index} is empty; leave --target out to let the model write one")
    options: dict[str, Any] = {} if max_tokens is None else {"truncation": True, "max_length": max_tokens}
    labels = list(tokenizer(text_target=text.target, **options)["input_ids"])
    ids = _shift_right(loaded, labels)
    return tokens_of(tokenizer, ids, text=text.target), ()


def _shift_right(loaded: Loaded, labels: list[int]) -> list[int]:
    """What the decoder reads while it is taught these labels: a start token, then all but the last label."""
    shift = getattr(loaded.model, "prepare_decoder_input_ids_from_labels", None)
    try:
        if shift is not None:
            return list(shift(labels=torch.tensor([labels], device=loaded.device))[0].tolist())
    except (AttributeError, TypeError, ValueError):
        pass  # a configuration that names no start or padding token
    return [_start_token(loaded), *labels[:-1]]


def _start_token(loaded: Loaded) -> int:
    sources = (loaded.model.config, getattr(loaded.model, "generation_config", None), loaded.target_tokenizer)
    for name in ("decoder_start_token_id", "bos_token_id", "pad_token_id", "eos_token_id"):
        for source in sources:
            value = getattr(source, name, None)
            if isinstance(value, int):
                return value
    raise ModelError(f"model '{loaded.name}' names no token for its decoder to start with")


def append_generated(
    loaded: Loaded, tensors: dict[str, list[int]], source: Tokens, count: int
) -> tuple[dict[str, list[int]], Tokens]:
    ids = _generate(loaded, tensors, count, option="--head causal-lm")
    new = len(ids) - len(source)
    tail = tokens_of(loaded.tokenizer, ids[len(source) :])
    words = np.where(tail.words >= 0, tail.words + source.words.max(initial=-1) + 1, -1)
    prompt = source.segments if any(source.segments) else ("prompt",) * len(source)
    both = Tokens(
        pieces=source.pieces + tail.pieces,
        ids=np.concatenate([source.ids, tail.ids]),
        special=np.concatenate([source.special, tail.special]),
        offsets=np.concatenate([source.offsets, tail.offsets]),
        words=np.concatenate([source.words, words]),
        segments=prompt + ("generated",) * new,
        text=source.text,
        scheme=source.scheme,
    )
    more = {name: [*values, *([values[-1]] * new)] for name, values in tensors.items()}
    return {**more, "input_ids": ids}, both


def _generate(loaded: Loaded, tensors: dict[str, list[int]], count: int, option: str) -> list[int]:
    """Greedy continuation; for an encoder-decoder what its decoder read while writing (start token, no end token)."""
    model: Any = loaded.model
    if not model.can_generate():
        raise ModelError(f"{type(model).__name__} cannot generate text; give {option}")
    given = {name: torch.tensor([values], device=loaded.device) for name, values in accepted(model, tensors).items()}
    limit = loaded.max_positions
    room = count if limit is None else max(1, min(count, limit - 1))
    settings = copy.deepcopy(model.generation_config)
    settings.update(max_length=None, max_new_tokens=room, do_sample=False, num_beams=1)
    try:
        with torch.inference_mode():
            ids: list[int] = model.generate(**given, generation_config=settings)[0].tolist()
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # the generation code of any architecture
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ModelError(f"{type(model).__name__} fails while it generates ({reason}); give {option}") from error
    ends = model.generation_config.eos_token_id
    if loaded.is_encoder_decoder and len(ids) > 1 and ids[-1] in (ends if isinstance(ends, list) else [ends]):
        ids = ids[:-1]
    return ids
