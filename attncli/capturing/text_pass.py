"""Forward passes over copies of a text, whole or up to the head of the model, and whether two give the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from attncli.capturing.canvas import canvas_input
from attncli.errors import is_out_of_memory
from attncli.inputs.batches import accepted_arguments

Tensor = torch.Tensor
Tensors = Mapping[str, Tensor]


class _StackReached(Exception):  # noqa: N818 (no error)
    """Ends a forward pass at the output of the layers, before the head of the model."""

    def __init__(self, output: Any) -> None:
        super().__init__()
        self.output = output


def _stop(module: nn.Module, args: object, output: Any) -> None:
    raise _StackReached(output)


def run_text(model: nn.Module, caller: Callable[..., Any], tensors: Tensors, rows: int, stop: str | None = None) -> Any:
    """Return the output of a model for `rows` copies of a text, or that of the stack of layers named `stop`.

    caller  the module that runs the model
    """
    arguments: dict[str, Any] = {name: tensor.repeat(rows, 1) for name, tensor in tensors.items()}
    arguments = accepted_arguments(caller, arguments)
    arguments |= accepted_arguments(caller, canvas_input(caller, arguments))
    arguments |= accepted_arguments(caller, {"use_cache": False, "return_dict": True})
    if stop is None:
        return caller(**arguments)
    handle = model.get_submodule(stop).register_forward_hook(_stop)
    try:
        caller(**arguments)
    except _StackReached as reached:
        return reached.output
    finally:
        handle.remove()
    raise AssertionError(f"{stop} did not run")


def gives(compute: Callable[[], Tensor | None], expected: Tensor, same: float) -> bool:
    """Return whether a computation works, and gives the expected numbers.

    same  how far they may differ, as a share of the largest
    """
    try:
        computed = compute()
    except Exception as error:  # modules of any architecture, run in another way than their author expected
        if is_out_of_memory(error):
            raise
        return False
    if computed is None or computed.shape[1:] != expected.shape[1:]:
        return False
    return float((computed - expected).abs().max()) <= same * float(expected.abs().max())
