"""What a model returned for one text, layer by layer, and the changes of such outputs that later passes need."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_map
from transformers.utils.generic import ModelOutput

from attncli.capturing.bound_edits import BoundEdits

Tensor = torch.Tensor
Tensors = Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class RecordedText:
    """One text and what the layers of the model returned for it.

    tensors  arguments of the forward pass, for one text
    layers   qualified name of each layer → its output, in the order of the calls
    stacks   qualified name of each stack under the head (mostly one) → its output, in the order of the calls
    hidden   the last hidden states, [1, token, width], which the head of the model takes as input; None without them
    output   output of the whole model; None if it was run up to the head
    edits    edits of the attention of the model, which all passes follow; None without edits
    """

    tensors: Tensors
    layers: Mapping[str, Any]
    stacks: Mapping[str, Any]
    hidden: Tensor | None
    output: Any
    edits: BoundEdits | None = None

    @property
    def read(self) -> str | None:
        """The name of the stack that the head reads; None if there is none."""
        return next(reversed([*self.stacks]), None)


def keeper(kept: dict[str, list[Any]], name: str) -> Callable[..., None]:
    """Return a hook that keeps the outputs of a layer under its name."""
    return lambda module, args, output: kept.setdefault(name, []).append(output)


def stack_keeper(stacks: dict[str, Any], name: str) -> Callable[..., None]:
    """Return a hook that keeps the output of a stack of layers under its name."""

    def keep(module: nn.Module, args: object, output: Any) -> None:
        if isinstance(output, ModelOutput) and getattr(output, "last_hidden_state", None) is not None:
            stacks[name] = output

    return keep


def expanded(output: Any, rows: int) -> Any:
    """Return an output of one text as the output of `rows` equal texts."""

    def expand(value: Any) -> Any:
        if not isinstance(value, Tensor) or value.dim() == 0 or value.shape[0] != 1:
            return value
        return value.expand(rows, *value.shape[1:])

    return tree_map(expand, output)


def with_states(output: Any, hidden: Tensor) -> Any:
    """Return an output with other last hidden states."""
    changed = type(output)(**output)
    changed["last_hidden_state"] = hidden
    return changed


def logits_of(output: Any) -> Any:
    """Return the logits of an output, in float32 at least; None if it has none."""
    logits = getattr(output, "logits", None)
    return logits.to(torch.promote_types(logits.dtype, torch.float32)) if isinstance(logits, Tensor) else None
