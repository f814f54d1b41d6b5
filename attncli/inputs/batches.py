"""Batches: the tensors that a model reads, their real (not padded) positions, and their tokens read from token ids."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from types import MethodType
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch

from attncli.data import Input, Text, Tokens
from attncli.errors import UsageError
from attncli.inputs.encoded import MASKS, STATES, as_tensors
from attncli.inputs.notes import input_notes
from attncli.inputs.token_reader import TokenReader
from attncli.inputs.word_ids import WordIds, with_word_ids
from attncli.models import Loaded

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Value = TypeVar("Value")


@dataclass(frozen=True, eq=False)
class Batch:
    """Some texts as model input.

    tensors      arguments of the forward pass, on the model's device
    source_mask  [batch, source] bool: real tokens
    target_mask  [batch, target] bool; None for models without a separate decoder
    notes        messages for the user, such as a target that the model generated
    given        whether the user encoded the inputs: then the whole model reads all of them, never a part of it
    fixed        whether the model reads the tensors only as they are, with their padding
    """

    inputs: tuple[Input, ...]
    tensors: Mapping[str, torch.Tensor]
    source_mask: torch.Tensor
    target_mask: torch.Tensor | None = None
    notes: tuple[str, ...] = ()
    given: bool = False
    fixed: bool = False

    @property
    def lengths(self) -> tuple[int, int | None]:
        """The number of source and target tokens, including padding."""
        return self.source_mask.shape[1], None if self.target_mask is None else self.target_mask.shape[1]


def accepted_arguments(model: object, tensors: Mapping[str, Value]) -> dict[str, Value]:
    """Return the tensors that are named parameters of the forward pass; it would ignore or refuse the others."""
    parameters = forward_parameters(model)
    return {name: value for name, value in tensors.items() if name in parameters}


def forward_parameters(model: object) -> Mapping[str, inspect.Parameter]:
    """Return the parameters of the forward pass by name."""
    forward: Any = getattr(model, "forward", model)
    # kept for methods of classes: the instance of others would be kept too
    if isinstance(forward, MethodType) and getattr(type(model), "forward", None) is forward.__func__:
        return _method_parameters(forward.__func__)
    return inspect.signature(forward).parameters


@lru_cache(maxsize=64)
def _method_parameters(method: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """Return the parameters of a method by name, without `self`: to read them takes longer than a short layer."""
    return {parameter.name: parameter for parameter in [*inspect.signature(method).parameters.values()][1:]}


def batch_from_tensors(loaded: Loaded, inputs: object) -> Batch:
    """Return a batch of inputs that the user encoded, in any form that `as_tensors` reads.

    The keys of cross-attention to `encoder_hidden_states` are the positions 0, 1, … of that input.
    """
    tensors = as_tensors(loaded, inputs)
    ids, target_mask = tensors["input_ids"], None
    source_mask = _mask(tensors, "attention_mask", ids)
    if loaded.is_encoder_decoder:
        if "decoder_input_ids" not in tensors:
            raise UsageError("an encoder-decoder also needs decoder_input_ids in the encoded inputs")
        target_mask = _mask(tensors, "decoder_attention_mask", tensors["decoder_input_ids"])
        if len(target_mask) != len(ids):
            raise UsageError(f"expected decoder_input_ids of {len(ids)} texts, as input_ids, got {len(target_mask)}")
    elif STATES in tensors:
        return _batch_over_states(loaded, tensors, source_mask)
    encoded = []
    for row in range(len(ids)):
        source = _decode_tokens(loaded.tokenizer, ids[row][source_mask[row]])
        target = None
        if target_mask is not None:
            target = _decode_tokens(loaded.target_tokenizer, tensors["decoder_input_ids"][row][target_mask[row]])
        encoded.append(Input(row, Text(source.text), source, target))
    notes = input_notes(loaded, encoded)
    return Batch(tuple(encoded), _accepted(loaded, tensors), source_mask, target_mask, notes, given=True)


def _accepted(loaded: Loaded, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the tensors without masks that the model does not read; its texts run without padding anyway."""
    read = accepted_arguments(loaded.model, tensors)
    return {name: tensor for name, tensor in tensors.items() if name in read or name not in MASKS}


def _batch_over_states(loaded: Loaded, tensors: Mapping[str, torch.Tensor], target_mask: torch.Tensor) -> Batch:
    """Return a batch of a decoder that also reads the states of an encoder that the user ran."""
    states, ids = tensors[STATES], tensors["input_ids"]
    if states.dim() != 3 or len(states) != len(ids) or not states.shape[1]:
        raise UsageError(f"expected {STATES} of shape [{len(ids)}, position, width], got {list(states.shape)}")
    source_mask = _mask(tensors, "encoder_attention_mask", states[..., 0])
    encoded = []
    for row in range(len(ids)):
        target = _decode_tokens(loaded.tokenizer, ids[row][target_mask[row]])
        source = Tokens.plain([str(position) for position in range(int(source_mask[row].sum()))])
        encoded.append(Input(row, Text(target.text), source, target))
    return Batch(tuple(encoded), _accepted(loaded, tensors), source_mask, target_mask, given=True)


def with_distinct_lengths(batch: Batch) -> Batch:
    """Return a batch whose states have another length than its tokens, so that shapes show what is cross-attention.

    The states are one position longer if the lengths are equal.
    """
    if STATES not in batch.tensors or batch.lengths[0] != batch.lengths[1]:
        return batch
    longer = {name: torch.cat([tensor, tensor[:, -1:]], 1) for name, tensor in batch.tensors.items() if _is_state(name)}
    mask = torch.cat([batch.source_mask, batch.source_mask[:, -1:]], 1)
    tokens = Tokens.plain([str(position) for position in range(mask.shape[1])])
    inputs = tuple(replace(text, source=tokens) for text in batch.inputs)
    return replace(batch, inputs=inputs, tensors={**batch.tensors, **longer}, source_mask=mask)


def _is_state(name: str) -> bool:
    return name in (STATES, "encoder_attention_mask")


def repeated(batch: Batch, times: int) -> Batch:
    """Return a batch of one text as a batch of this text several times."""
    return replace(
        batch,
        inputs=batch.inputs * times,
        tensors={name: _repeated(tensor, times) for name, tensor in batch.tensors.items()},
        source_mask=_repeated(batch.source_mask, times),
        target_mask=None if batch.target_mask is None else _repeated(batch.target_mask, times),
    )


def _repeated(tensor: torch.Tensor, times: int) -> torch.Tensor:
    return tensor.repeat(times, *[1] * (tensor.dim() - 1))


def unpadded(batch: Batch) -> Iterator[Batch]:
    """Yield the texts of a batch without padding, texts of equal length together.

    A model may count padded positions or attend to them. Without padding each text gives exactly the result that it
    gives alone.
    """
    masks = [mask for mask in (batch.source_mask, batch.target_mask) if mask is not None]
    if batch.fixed or all(bool(mask.all()) for mask in masks):
        yield batch
        return
    rows_by_lengths: dict[tuple[int, ...], list[int]] = {}
    for row in range(len(batch.inputs)):
        rows_by_lengths.setdefault(tuple(_real_length(mask[row], row) for mask in masks), []).append(row)
    for lengths, rows in rows_by_lengths.items():
        sides = [torch.ones(len(rows), length, dtype=torch.bool, device=masks[0].device) for length in lengths]
        yield replace(
            batch,
            inputs=tuple(batch.inputs[row] for row in rows),
            tensors={name: _without_padding(name, tensor, batch, rows) for name, tensor in batch.tensors.items()},
            source_mask=sides[0],
            target_mask=sides[1] if len(sides) > 1 else None,
        )


def _real_length(mask: torch.Tensor, row: int) -> int:
    positions = mask.nonzero().flatten().tolist()
    if not positions or positions[-1] - positions[0] + 1 != len(positions):
        problem = "has no token" if not positions else "leaves out tokens between others"
        raise UsageError(f"the attention mask of text {row} {problem}; expected padding on the left or the right only")
    return len(positions)


def _without_padding(name: str, tensor: torch.Tensor, batch: Batch, rows: list[int]) -> torch.Tensor:
    is_target = not _is_state(name) if STATES in batch.tensors else name.startswith("decoder_")
    mask = batch.source_mask
    if is_target and batch.target_mask is not None:  # the canvas of a diffusion model is no target
        mask = batch.target_mask
    if tensor.shape[:2] == mask.shape:
        return torch.stack([tensor[row][mask[row]] for row in rows])
    if tensor.dim() and len(tensor) == len(batch.inputs) and mask.shape[1] not in tensor.shape[1:]:
        return tensor[rows]
    raise UsageError(f"cannot remove the padding from {name} {list(tensor.shape)}; pass texts of equal length")


def _mask(tensors: Mapping[str, torch.Tensor], name: str, ids: torch.Tensor) -> torch.Tensor:
    mask = tensors.get(name)
    if mask is None:
        return torch.ones_like(ids, dtype=torch.bool)
    if mask.shape != ids.shape:
        advice = "; a mask of pairs of tokens cannot be captured" if mask.dim() > 2 else ""
        raise UsageError(f"expected {name} of shape {list(ids.shape)} like the ids, got {list(mask.shape)}{advice}")
    return mask.bool()


def _decode_tokens(tokenizer: PreTrainedTokenizerBase | None, ids: torch.Tensor) -> Tokens:
    numbers = ids.tolist()
    if tokenizer is None:
        return replace(Tokens.plain([str(number) for number in numbers]), ids=np.asarray(numbers))
    text = str(tokenizer.decode(numbers, skip_special_tokens=True))
    return TokenReader(tokenizer).tokens(numbers, text=text)


def with_words(batches: Iterable[Batch], word_ids: WordIds) -> tuple[Batch, ...]:
    """Return all batches of a run with the words of the user; raise UsageError if they do not fit the tokens."""
    batches = tuple(batches)
    texts = sum(len(batch.inputs) for batch in batches)
    return tuple(replace(batch, inputs=with_word_ids(batch.inputs, word_ids, texts)) for batch in batches)
