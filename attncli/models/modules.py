"""A module that is no Transformers model, with what a capture needs to know about a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import TreeSpec, tree_unflatten
from transformers import PreTrainedConfig, PreTrainedModel

from attncli.data.cached import cached_property
from attncli.errors import ModelError, UsageError
from attncli.models.loaded import Loaded
from attncli.models.wrapped import holds_transformers, inner_model


class ModuleHost(nn.Module):
    """A module with the attributes of a Transformers model that a capture reads.

    Its modules are those of the module that it holds, under the names that they have there.

    spec    the structure of the positional and named arguments of the module
    leaves  the arguments that are no tensors, by name
    hint    what errors of the forward pass add
    """

    def __init__(self, module: nn.Module, spec: TreeSpec, names: tuple[str, ...], leaves: Mapping[str, Any]) -> None:
        super().__init__()
        self.held, self.config, self.hint = module, PreTrainedConfig(), ""
        self._spec, self._names, self._leaves = spec, names, dict(leaves)

    def named_modules(self, *args: Any, **kwargs: Any) -> Iterator[tuple[str, nn.Module]]:
        """Return the modules of the held module."""
        yield from self.held.named_modules(*args, **kwargs)

    def get_submodule(self, target: str) -> nn.Module:
        """Return a module of the held module by its name there."""
        return self.held.get_submodule(target)

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the first parameter with floating-point numbers."""
        floats = (tensor.dtype for tensor in self.held.parameters() if tensor.is_floating_point())
        return next(floats, torch.float32)

    def forward(self, **tensors: Any) -> Any:
        """Return what the module returns for these arguments; options of Transformers are left out."""
        values = {**self._leaves, **tensors}
        args, kwargs = tree_unflatten([values[name] for name in self._names], self._spec)
        try:
            return self.held(*args, **kwargs)
        except SystemExit as error:
            raise ModelError(f"{type(self.held).__name__} ends the program in its forward pass") from error


@dataclass(frozen=True, eq=False)
class LoadedModule(Loaded):
    """A module that is no Transformers model, with its host in the place of a model."""

    @property
    def notes(self) -> tuple[str, ...]:
        """None: nothing is known about the weights."""
        return ()

    @property
    def architecture(self) -> str:
        """The name of the class."""
        return self.name

    @property
    def device(self) -> torch.device:
        """The device of the first parameter or buffer; the CPU without one."""
        return device_of(self.model)

    @cached_property
    def callers(self) -> list[tuple[str, Callable[..., Any]]]:
        """The one way to run the module."""
        return [("forward", self.model)]

    @property
    def class_name(self) -> str:
        """The name of the class of the module."""
        return self.name


def device_of(module: nn.Module) -> torch.device:
    """Return the device of the first parameter or buffer of a module; the CPU without one."""
    for tensors in (module.parameters(), module.buffers()):
        if (tensor := next(tensors, None)) is not None:
            return tensor.device
    return torch.device("cpu")


def plain_module(value: Any, whole: bool = False) -> nn.Module | None:
    """Return the module in a value that is no Transformers model, inside of compiled, parallel and adapted ones.

    whole  whether a module with a Transformers model in it counts too
    Return None for a Transformers model, what holds one, and what is no module.
    """
    while not isinstance(value, PreTrainedModel):
        inner = inner_model(value)
        if inner is None or inner is value:
            break
        value = inner
    if not isinstance(value, nn.Module) or isinstance(value, PreTrainedModel):
        return None
    return value if whole or not holds_transformers(value) else None


def check_runnable(module: nn.Module) -> None:
    """Raise UsageError if the modules inside cannot be run, or hide what they call."""
    for name, part in module.named_modules():
        label = f"{name} ({type(part).__name__})" if name else type(part).__name__
        if isinstance(part, torch.jit.ScriptModule):
            raise UsageError(
                f"{label} is TorchScript, which hides its attention calls: pass the module that it was made from"
            )
        if any(nn.parameter.is_lazy(tensor) for tensor in part.parameters(recurse=False)):
            raise UsageError(f"{label} has no weights yet: run the module once, so that it sets its sizes")
