"""Input of decoders: a given target, or text that the model generates, which has a segment name."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from attncli.data import Array, Input, Tokens
from attncli.errors import ModelError, UsageError, is_out_of_memory
from attncli.inputs.batches import accepted_arguments
from attncli.inputs.partitions import GENERATED, PROMPT
from attncli.inputs.tokens import TokenReader
from attncli.models import Loaded

if TYPE_CHECKING:
    from transformers import PreTrainedModel

GENERATED_TARGET = 64
"""Largest number of tokens that a decoder generates if neither a target nor --generate is given."""
PREFILL = 1024
"""Number of tokens per step while a long prompt is read, so that the attention of all of them is never in memory."""


def encode_target(loaded: Loaded, reader: TokenReader, given: Input, max_tokens: int | None) -> Tokens:
    """Return the input of the decoder for the target of a given text, as in training."""
    text = given.text.target or ""
    if not text.strip():
        raise UsageError(f"the target of text {given.index} is empty; leave --target out to let the model write one")
    options: dict[str, Any] = {} if max_tokens is None else {"truncation": True, "max_length": max_tokens}
    labels = list(loaded.target_tokenizer(text_target=text, **options)["input_ids"])
    return reader.tokens(_shift_right(loaded, labels), text=text)


def generate_target(loaded: Loaded, reader: TokenReader, tensors: dict[str, Array], generate: int) -> Tokens:
    """Return the input of the decoder that generates up to `generate` tokens: start token and these, no end token.

    generate  0 for `GENERATED_TARGET` tokens
    """
    limit = loaded.max_positions
    default = GENERATED_TARGET if limit is None else max(1, min(GENERATED_TARGET, limit - 1))
    ids = _generate(loaded, tensors, generate or default, option="--target")
    if len(ids) > 1 and ids[-1] in _end_tokens(loaded):
        ids = ids[:-1]
    target = reader.tokens(ids, text=loaded.target_tokenizer.decode(ids, skip_special_tokens=True))
    return replace(target, segments=("", *[GENERATED] * (len(ids) - 1)))


def _shift_right(loaded: Loaded, labels: list[int]) -> list[int]:
    """Return the input of the decoder for these labels in training: a start token, then all but the last label."""
    shift = getattr(loaded.model, "prepare_decoder_input_ids_from_labels", None)
    try:
        if shift is not None:
            return list(shift(labels=torch.tensor([labels], device=loaded.device))[0].tolist())
    except (AttributeError, TypeError, ValueError):
        pass  # the configuration names no start or padding token
    return [_start_token(loaded), *labels[:-1]]


def _start_token(loaded: Loaded) -> int:
    holders = (loaded.model.config, getattr(loaded.model, "generation_config", None), loaded.target_tokenizer)
    for name in ("decoder_start_token_id", "bos_token_id", "pad_token_id", "eos_token_id"):
        for holder in holders:
            value = getattr(holder, name, None)
            if isinstance(value, int):
                return value
    raise ModelError(
        f"model '{loaded.name}' names no start token for its decoder: expected decoder_start_token_id in its config"
    )


def append_answer(
    loaded: Loaded, reader: TokenReader, tensors: dict[str, Array], source: Tokens, count: int
) -> tuple[dict[str, Array], Tokens]:
    """Return the input tensors and tokens of a decoder-only model, with up to `count` generated tokens appended."""
    ids = _generate(loaded, tensors, count, option="--head causal-lm")
    new_count = len(ids) - len(source)
    answer = reader.tokens(ids[len(source) :])
    words = np.where(answer.words >= 0, answer.words + source.words.max(initial=-1) + 1, -1)
    prompt = source.segments if any(source.segments) else (PROMPT,) * len(source)
    all_tokens = Tokens(
        pieces=source.pieces + answer.pieces,
        ids=np.concatenate([source.ids, answer.ids]),
        special=np.concatenate([source.special, answer.special]),
        offsets=np.concatenate([source.offsets, answer.offsets]),
        words=np.concatenate([source.words, words]),
        segments=prompt + (GENERATED,) * new_count,
        text=source.text,
        scheme=source.scheme,
    )
    extended = {name: np.append(values, [values[-1]] * new_count) for name, values in tensors.items()}
    return {**extended, "input_ids": all_tokens.ids}, all_tokens


def _generate(loaded: Loaded, tensors: dict[str, Array], count: int, option: str) -> list[int]:
    """Return the ids of the prompt and its greedy continuation.

    Texts are not batched: in a batch, rounding could choose another of two almost equally likely tokens.
    """
    model: Any = loaded.model
    if not model.can_generate():
        raise ModelError(f"{type(model).__name__} cannot generate text; give {option}")
    rows = {name: torch.as_tensor(values, device=loaded.device)[None] for name, values in tensors.items()}
    settings = copy.deepcopy(model.generation_config)
    settings.update(max_length=None, max_new_tokens=count, do_sample=False, num_beams=1)
    if len(tensors["input_ids"]) > PREFILL and _supports_prefill(model):
        settings.update(use_cache=True, prefill_chunk_size=PREFILL)
    try:
        with torch.inference_mode():
            ids: list[int] = model.generate(**accepted_arguments(model, rows), generation_config=settings)[0].tolist()
    except Exception as error:  # the generation code of any architecture
        if is_out_of_memory(error):
            raise
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ModelError(f"{type(model).__name__} fails while it generates ({reason}); give {option}") from error
    return ids


def _supports_prefill(model: PreTrainedModel) -> bool:
    """Return whether a prompt may be read in chunks: the model caches keys and values, and has no running state."""
    has_encoder, stateful = model.config.is_encoder_decoder, getattr(model, "_is_stateful", True)
    has_backends = getattr(model, "_supports_attention_backend", False)
    untyped: Any = model  # torch types unknown attributes of modules as tensors
    return bool(has_backends and not stateful and not has_encoder and untyped._supports_default_dynamic_cache())


def _end_tokens(loaded: Loaded) -> list[int | None]:
    ends = loaded.model.generation_config.eos_token_id
    return ends if isinstance(ends, list) else [ends]
