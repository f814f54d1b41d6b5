"""Greedy generation, and the input that an encoder-decoder makes for its decoder by itself."""

import copy
import threading
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import torch
from transformers import GenerationConfig

from attncli.data import Array, Input
from attncli.errors import AttnError, ModelError, is_out_of_memory
from attncli.inputs.batches import accepted_arguments
from attncli.models import Loaded
from attncli.models.checkpoint import list_weights
from attncli.models.greedy import greedy_settings
from attncli.models.load_errors import first_line

PREFILL = 1024
"""Number of tokens per step while a long prompt is read, so that the attention of all of them is never in memory."""


class _DecoderReachedError(Exception):
    """Stops a forward pass at its decoder."""


def generate_ids(loaded: Loaded, text: Input, tensors: dict[str, Array], count: int) -> list[int]:
    """Return the ids of the prompt and its greedy continuation, or of the decoder's input that the model writes.

    Texts are not batched: in a batch, rounding could choose another of two almost equally likely tokens.
    Raises `ModelError` if the model cannot write text, or only by weights that are random.
    """
    _check_can_write(loaded)
    with nullcontext(loaded.model) if loaded.writer is None else loaded.writer(text) as modules:
        return _written_ids(loaded, copy.copy(modules), tensors, count)  # shares modules, but not its settings


def _written_ids(loaded: Loaded, model: Any, tensors: dict[str, Array], count: int) -> list[int]:
    prompt = [] if loaded.is_encoder_decoder else tensors["input_ids"].tolist()
    settings = _settings(vars(model.generation_config), count, len(prompt))
    if len(tensors["input_ids"]) > PREFILL and _supports_prefill(model):
        settings.update(use_cache=True, prefill_chunk_size=PREFILL)
    # what a configuration leaves out, `generate` takes from that of the model
    model.generation_config = settings
    options = {"tokenizer": loaded.target_tokenizer} if settings.stop_strings else {}
    try:
        with torch.inference_mode():
            rows = accepted_arguments(model, _rows(loaded, tensors))
            ids: list[int] = type(model).generate(model, **rows, generation_config=settings, **options)[0].tolist()
    except AttnError:  # an edit that does not fit
        raise
    except Exception as error:  # the generation code of any architecture
        if is_out_of_memory(error):
            raise
        raise ModelError(
            f"{type(model).__name__} fails while it generates ({first_line(error)}); {_instead(loaded)}"
        ) from error
    if ids[: len(prompt)] != prompt or len(ids) == len(prompt):
        problem = "returns no new tokens" if ids == prompt else "does not return its prompt"
        raise ModelError(f"{type(model).__name__} {problem} when it generates; {_instead(loaded)}")
    return ids


def own_decoder_ids(loaded: Loaded, tensors: dict[str, Array]) -> list[int]:
    """Return the ids that a model gives its decoder by itself, as classifiers do; [] if it expects them as input."""
    model: Any = loaded.model
    thread, found = threading.get_ident(), []

    def stop(module: Any, args: Any, kwargs: Any) -> None:
        if threading.get_ident() == thread:  # the same model may run in another thread
            found.append(kwargs.get("input_ids", args[0] if args else None))
            raise _DecoderReachedError

    handle = model.get_decoder().register_forward_pre_hook(stop, with_kwargs=True)
    try:
        with torch.inference_mode():
            model(**accepted_arguments(model, _rows(loaded, tensors)))
    except _DecoderReachedError:
        pass
    except Exception as error:  # the forward pass of any architecture
        if is_out_of_memory(error):
            raise
    finally:
        handle.remove()
    return found[0][0].tolist() if found and isinstance(found[0], torch.Tensor) else []


def _check_can_write(loaded: Loaded) -> None:
    """Raise ModelError if a model has no language-model head, a random one, or reads in both directions."""
    name, random = type(loaded.model).__name__, loaded.initialised
    if not loaded.model.can_generate():
        problem = "cannot generate text"
    elif random:
        problem = (
            f"cannot generate text: the checkpoint lacks {len(random)} of its weights, which were initialised at "
            f"random ({list_weights(random)})"
        )
    elif loaded.reads_both_ways:
        problem = "cannot generate text: it is an encoder, whose tokens see those after them"
    else:
        return
    raise ModelError(f"{name} {problem}; {_instead(loaded)}")


def _instead(loaded: Loaded) -> str:
    """Return what to do about a model that does not write text."""
    if loaded.is_encoder_decoder:
        return "give --target"
    if loaded.has_writing_class and not loaded.reads_both_ways:
        return "load it with --head causal-lm"
    return "leave --generate out, or choose a model that writes text, such as demo:decoder"


def _rows(loaded: Loaded, tensors: dict[str, Array]) -> dict[str, torch.Tensor]:
    return {name: torch.as_tensor(values, device=loaded.device)[None] for name, values in tensors.items()}


def _settings(stored: Mapping[str, Any], count: int, prompt: int) -> Any:
    """Return the settings of `generate` for `count` greedy tokens."""
    kept = copy.deepcopy(greedy_settings(stored))
    least, least_with_prompt = kept.pop("min_new_tokens", None), kept.pop("min_length", None)
    if least:
        kept["min_new_tokens"] = min(least, count)
    elif least_with_prompt:
        kept["min_length"] = min(least_with_prompt, prompt + count)
    config: Any = GenerationConfig
    return config(**kept, do_sample=False, num_beams=1, max_new_tokens=count)


def _supports_prefill(model: Any) -> bool:
    """Return whether a prompt may be read in chunks: the model caches keys and values, and has no running state."""
    has_encoder, stateful = model.config.is_encoder_decoder, getattr(model, "_is_stateful", True)
    has_backends = getattr(model, "_supports_attention_backend", False)
    return bool(has_backends and not stateful and not has_encoder and model._supports_default_dynamic_cache())
