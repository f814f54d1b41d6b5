"""Inputs that the user encoded: every ordinary form of them as tensors, and an error for what cannot be captured."""

import inspect
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from attncli.errors import UsageError, did_you_mean
from attncli.inputs.text_files import type_name
from attncli.models import Loaded

Tensor = torch.Tensor
IDS = ("input_ids", "decoder_input_ids")
MASKS = ("attention_mask", "decoder_attention_mask", "encoder_attention_mask")
STATES = "encoder_hidden_states"
_EXPECTED = "expected encoded inputs with input_ids, such as tokenizer(text)"
_OF_TOKENIZERS = {
    *("token_type_ids", "attention_mask", "special_tokens_mask", "offset_mapping", "length"),
    *("overflow_to_sample_mapping", "overflowing_tokens", "num_truncated_tokens"),
}
"""Outputs of tokenizers that a model need not read."""
_NO_TOKENS = "its positions have no tokens, so no map could name them; pass the ids of all tokens"
_OPTION = "attncli sets it itself; leave it out"
_REFUSED = {
    **dict.fromkeys(("past_key_values", "cache"), "its keys have no tokens; pass all tokens in one call"),
    "inputs_embeds": _NO_TOKENS,
    "decoder_inputs_embeds": _NO_TOKENS,
    "encoder_outputs": "the encoder would not run, and its attention would be missing; pass input_ids",
    **dict.fromkeys(("use_cache", "output_attentions", "output_hidden_states", "return_dict"), _OPTION),
}


def as_tensors(loaded: Loaded, inputs: object) -> dict[str, Tensor]:
    """Return the arguments of a forward pass as tensors on the device of the model, ids and masks as [batch, token].

    inputs  outputs of a tokenizer, with or without padding and as lists, arrays or tensors; or only token ids
    Lists of unequal lengths are padded, with an attention mask. Raise UsageError for inputs that cannot be captured.
    """
    named = _read_by(loaded, _named(inputs))
    tensors = {name: _tensor(name, value) for name, value in named.items()}
    if tensors["input_ids"].dim() == 1:
        length = len(tensors["input_ids"])
        single = {name for name, tensor in tensors.items() if name in (*IDS, *MASKS) or tensor.shape == (length,)}
        tensors = {
            name: tensor[None] if name in single and tensor.dim() == 1 else tensor for name, tensor in tensors.items()
        }
    for ids, mask in zip(IDS, MASKS, strict=False):
        if ids in tensors:
            tensors |= _checked_ids(ids, tensors[ids])
            tensors |= _mask_of_lists(ids, mask, named, tensors)
    for name in MASKS:
        if name in tensors and not bool(((tensors[name] == 0) | (tensors[name] == 1)).all()):
            raise UsageError(f"expected {name} of 1 for tokens and 0 for padding, got other numbers")
    if "token_type_ids" in tensors and tensors["token_type_ids"].shape != tensors["input_ids"].shape:
        shapes = [list(tensors[name].shape) for name in ("input_ids", "token_type_ids")]
        raise UsageError(f"expected token_type_ids of shape {shapes[0]} like the ids, got {shapes[1]}")
    return {name: tensor.to(loaded.device) for name, tensor in tensors.items()}


def _named(inputs: object) -> dict[str, object]:
    if isinstance(inputs, Mapping):
        named = {str(name): value for name, value in inputs.items() if value is not None}
        for name in named:
            if name in _REFUSED:
                raise UsageError(f"{name} cannot be captured: {_REFUSED[name]}")
        if "input_ids" not in named:
            raise UsageError(f"{_EXPECTED}, got {', '.join(named)[:200] or 'nothing'}")
        return named
    if isinstance(inputs, Tensor | np.ndarray) or (isinstance(inputs, list | tuple) and not _has_text(inputs)):
        return {"input_ids": inputs}
    advice = "; attncli.load(NAME).run(text) reads texts" if isinstance(inputs, str | list | tuple) else ""
    raise UsageError(f"{_EXPECTED}, got {type_name(inputs)}{advice}")


def _has_text(values: Sequence[object]) -> bool:
    return any(isinstance(value, str | bytes) for value in values)


def _read_by(loaded: Loaded, named: Mapping[str, object]) -> dict[str, object]:
    """Return the inputs without what only tokenizers need; raise UsageError for one that the model does not read.

    A model that does not take `token_type_ids` raises its own error, as does one whose forward pass names no inputs,
    such as a wrapper `forward(*args, **kwargs)`.
    """
    parameters = inspect.signature(loaded.model.forward).parameters.values()
    unnamed = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    known = {parameter.name for parameter in parameters if parameter.kind not in unnamed}
    if not known:
        return {name: value for name, value in named.items() if name not in _OF_TOKENIZERS}
    for name in named:
        if name not in known | _OF_TOKENIZERS:
            hint = did_you_mean(name, known)
            raise UsageError(f"{type(loaded.model).__name__} reads no input '{name[:60]}': {hint}"[:450])
    return {name: value for name, value in named.items() if name in {*known, *MASKS, "token_type_ids"}}


def _tensor(name: str, value: object) -> Tensor:
    """Return a value as a tensor; rows of unequal lengths are filled with 0."""
    if isinstance(value, Tensor):
        return value
    try:
        rows = _rows(value)
        if rows and all(row.dim() == 1 for row in rows):
            return pad_sequence(rows, batch_first=True)
        return torch.stack(rows) if rows else _copied(value)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise UsageError(f"expected {name} as a tensor or as lists of numbers, got {type_name(value)}") from error


def _rows(value: object) -> list[Tensor]:
    """Return the rows of a list of rows; none for other values."""
    if isinstance(value, np.ndarray) and value.dtype == object:
        value = list(value)
    if not isinstance(value, list | tuple) or not all(
        isinstance(row, list | tuple | np.ndarray | Tensor) for row in value
    ):
        return []
    return [_copied(row) for row in value]


def _copied(value: object) -> Tensor:
    """Return a value as a tensor that shares no memory with a read-only array, such as the ids of a run."""
    if isinstance(value, np.ndarray) and not value.flags.writeable:
        value = value.copy()
    return torch.as_tensor(value)


def _checked_ids(name: str, ids: Tensor) -> dict[str, Tensor]:
    if ids.dim() != 2 or 0 in ids.shape:
        raise UsageError(f"expected {name} of shape [batch, token], got {list(ids.shape)}")
    if ids.dtype == torch.bool or ids.is_floating_point() or ids.is_complex():
        raise UsageError(f"expected {name} as whole numbers, got {str(ids.dtype).removeprefix('torch.')}")
    if ids.device.type != "meta" and int(ids.min()) < 0:
        raise UsageError(f"expected {name} from 0 up, got {int(ids.min())}")
    return {name: ids.long()}


def _mask_of_lists(
    ids: str, mask: str, named: Mapping[str, object], tensors: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return the mask of ids in lists of unequal lengths; nothing for other ids.

    Raise UsageError if the mask that the user gave has other lengths.
    """
    lengths = [len(row) for row in _rows(named[ids])]
    if len(set(lengths)) < 2:
        return {}
    if mask in named:
        given = [len(row) for row in _rows(named[mask])] or [tensors[mask].shape[-1]]
        if given != lengths:
            raise UsageError(f"expected {mask} with the lengths of the ids, {lengths[:8]}, got {given[:8]}")
        return {}
    columns = torch.arange(max(lengths), device=tensors[ids].device)
    return {mask: (columns < torch.tensor(lengths, device=columns.device)[:, None]).long()}
