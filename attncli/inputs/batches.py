"""Texts as a model gets them: tensors, real positions, and what stands there."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from attncli.data import Input, Text, Tokens
from attncli.errors import UsageError
from attncli.inputs.tokens import TokenReader
from attncli.models import Loaded


@dataclass(frozen=True, eq=False)
class Batch:
    """Some texts as the model gets them.

    tensors      what the forward pass takes, on the model's device
    source_mask  [batch, source] bool: real tokens
    target_mask  [batch, target] bool, None for models of one stack
    notes        what the user should know, such as a target that the model wrote itself
    """

    inputs: tuple[Input, ...]
    tensors: Mapping[str, torch.Tensor]
    source_mask: torch.Tensor
    target_mask: torch.Tensor | None = None
    notes: tuple[str, ...] = ()

    @property
    def lengths(self) -> tuple[int, int | None]:
        """Padded source and target tokens."""
        return self.source_mask.shape[1], None if self.target_mask is None else self.target_mask.shape[1]


def accepted_arguments(caller: Any, tensors: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs that a forward pass names; others would vanish in its keyword arguments or be refused."""
    named = inspect.signature(getattr(caller, "forward", caller)).parameters
    return {name: value for name, value in tensors.items() if name in named}


def batch_from_tensors(loaded: Loaded, inputs: Mapping[str, Any]) -> Batch:
    """A batch from encoded inputs that the user holds: `input_ids`, and what else the forward pass takes."""
    if "input_ids" not in inputs:
        raise UsageError(f"expected encoded inputs with input_ids, got: {', '.join(map(str, inputs)) or 'nothing'}")
    tensors = {name: torch.as_tensor(value, device=loaded.device) for name, value in inputs.items()}
    ids = tensors["input_ids"]
    if ids.dim() != 2 or 0 in ids.shape:
        raise UsageError(f"expected input_ids of shape [batch, token], got {list(ids.shape)}")
    source_mask = _mask(tensors, "attention_mask", ids)
    target_mask = None
    if loaded.is_encoder_decoder:
        if "decoder_input_ids" not in tensors:
            raise UsageError("an encoder-decoder also needs decoder_input_ids in the encoded inputs")
        target_mask = _mask(tensors, "decoder_attention_mask", tensors["decoder_input_ids"])
    made = []
    for at in range(len(ids)):
        source = _bare_tokens(loaded.tokenizer, ids[at][source_mask[at]])
        target = None
        if target_mask is not None:
            target = _bare_tokens(loaded.target_tokenizer, tensors["decoder_input_ids"][at][target_mask[at]])
        made.append(Input(at, Text(source.text), source, target))
    return Batch(tuple(made), tensors, source_mask, target_mask)


def unpadded(batch: Batch) -> Iterator[Batch]:
    """The same texts without padding, those of equal length together.

    A model may number padded positions, or put weight on them; so padding never reaches it, and each text gives
    exactly what it gives alone.
    """
    masks = [mask for mask in (batch.source_mask, batch.target_mask) if mask is not None]
    if all(bool(mask.all()) for mask in masks):
        yield batch
        return
    groups: dict[tuple[int, ...], list[int]] = {}
    for row in range(len(batch.inputs)):
        groups.setdefault(tuple(_real_tokens(mask[row], row) for mask in masks), []).append(row)
    for lengths, rows in groups.items():
        sides = [torch.ones(len(rows), length, dtype=torch.bool, device=masks[0].device) for length in lengths]
        yield replace(
            batch,
            inputs=tuple(batch.inputs[row] for row in rows),
            tensors={name: _without_padding(name, tensor, batch, rows) for name, tensor in batch.tensors.items()},
            source_mask=sides[0],
            target_mask=sides[1] if len(sides) > 1 else None,
        )


def _real_tokens(mask: torch.Tensor, row: int) -> int:
    at = mask.nonzero().flatten().tolist()
    if not at or at[-1] - at[0] + 1 != len(at):
        what = "has no token" if not at else "leaves out tokens between others"
        raise UsageError(f"the attention mask of text {row} {what}; expected padding on the left or the right only")
    return len(at)


def _without_padding(name: str, tensor: torch.Tensor, batch: Batch, rows: list[int]) -> torch.Tensor:
    mask = batch.target_mask if name.startswith("decoder_") else batch.source_mask
    assert mask is not None
    if tensor.shape[:2] == mask.shape:
        return torch.stack([tensor[row][mask[row]] for row in rows])
    if tensor.dim() and len(tensor) == len(batch.inputs) and mask.shape[1] not in tensor.shape[1:]:
        return tensor[rows]
    raise UsageError(f"the padding cannot be taken out of {name} {list(tensor.shape)}; pass texts of equal length")


def _mask(tensors: Mapping[str, torch.Tensor], name: str, ids: torch.Tensor) -> torch.Tensor:
    mask = tensors.get(name)
    if mask is None:
        return torch.ones_like(ids, dtype=torch.bool)
    if mask.shape != ids.shape:
        raise UsageError(f"expected {name} of shape {list(ids.shape)} like the ids, got {list(mask.shape)}")
    return mask.bool()


def _bare_tokens(tokenizer: Any, ids: torch.Tensor) -> Tokens:
    numbers = ids.tolist()
    if tokenizer is None:
        return replace(Tokens.plain([str(number) for number in numbers]), ids=np.asarray(numbers))
    return TokenReader(tokenizer).tokens(numbers, text=tokenizer.decode(numbers, skip_special_tokens=True))
