"""What a decoder reads: a target that was given, or what the model writes itself, told apart by segments."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from attncli.data import Array, Input, Tokens
from attncli.errors import ModelError, UsageError, is_out_of_memory
from attncli.inputs.batches import accepted_arguments
from attncli.inputs.tokens import TokenReader
from attncli.models import Loaded

GENERATED_TARGET = 64
"""How many tokens a decoder may write itself where no target and no --generate is given."""
PREFILL = 1024
"""How many tokens of a long prompt are read at a time, so that no attention of all of them at once is held."""
GENERATED = "generated"
"""The segment of what the model wrote."""


def given_target(loaded: Loaded, namer: TokenReader, one: Input, max_tokens: int | None) -> Tokens:
    """What the decoder reads while it is taught the target that was given."""
    text = one.text.target or ""
    if not text.strip():
        raise UsageError(f"the target of text {one.index} is empty; leave --target out to let the model write one")
    options: dict[str, Any] = {} if max_tokens is None else {"truncation": True, "max_length": max_tokens}
    labels = list(loaded.target_tokenizer(text_target=text, **options)["input_ids"])
    return namer.tokens(_shift_right(loaded, labels), text=text)


def written_target(loaded: Loaded, namer: TokenReader, tensors: dict[str, Array], generate: int) -> Tokens:
    """What the decoder read while it wrote up to so many tokens (0: `GENERATED_TARGET`): start token, no end token."""
    limit = loaded.max_positions
    room = GENERATED_TARGET if limit is None else max(1, min(GENERATED_TARGET, limit - 1))
    ids = _generate(loaded, tensors, generate or room, option="--target")
    if len(ids) > 1 and ids[-1] in _ends(loaded):
        ids = ids[:-1]
    target = namer.tokens(ids, text=loaded.target_tokenizer.decode(ids, skip_special_tokens=True))
    return replace(target, segments=("", *[GENERATED] * (len(ids) - 1)))


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


def with_answer(
    loaded: Loaded, namer: TokenReader, tensors: dict[str, Array], source: Tokens, count: int
) -> tuple[dict[str, Array], Tokens]:
    """What a decoder-only model reads, with up to so many tokens that it writes behind it."""
    ids = _generate(loaded, tensors, count, option="--head causal-lm")
    new = len(ids) - len(source)
    tail = namer.tokens(ids[len(source) :])
    words = np.where(tail.words >= 0, tail.words + source.words.max(initial=-1) + 1, -1)
    prompt = source.segments if any(source.segments) else ("prompt",) * len(source)
    both = Tokens(
        pieces=source.pieces + tail.pieces,
        ids=np.concatenate([source.ids, tail.ids]),
        special=np.concatenate([source.special, tail.special]),
        offsets=np.concatenate([source.offsets, tail.offsets]),
        words=np.concatenate([source.words, words]),
        segments=prompt + (GENERATED,) * new,
        text=source.text,
        scheme=source.scheme,
    )
    more = {name: np.append(values, [values[-1]] * new) for name, values in tensors.items()}
    return {**more, "input_ids": both.ids}, both


def _generate(loaded: Loaded, tensors: dict[str, Array], count: int, option: str) -> list[int]:
    """Greedy continuation, one text at a time: in a batch, rounding could choose another token where two are near."""
    model: Any = loaded.model
    if not model.can_generate():
        raise ModelError(f"{type(model).__name__} cannot generate text; give {option}")
    rows = {name: torch.as_tensor(values, device=loaded.device)[None] for name, values in tensors.items()}
    settings = copy.deepcopy(model.generation_config)
    settings.update(max_length=None, max_new_tokens=count, do_sample=False, num_beams=1)
    if len(tensors["input_ids"]) > PREFILL and _reads_in_parts(model):
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


def _reads_in_parts(model: Any) -> bool:
    """Whether a prompt may come in parts: a plain cache of keys and values, no running state that would be lost."""
    two_stacks, stateful = model.config.is_encoder_decoder, getattr(model, "_is_stateful", True)
    modern = getattr(model, "_supports_attention_backend", False)
    return bool(modern and not stateful and not two_stacks and model._supports_default_dynamic_cache())


def _ends(loaded: Loaded) -> list[int | None]:
    ends = loaded.model.generation_config.eos_token_id
    return ends if isinstance(ends, list) else [ends]
