"""A second set of modules for a model: it shares all parameters, but its hooks, mode and configuration are its own.

A capture runs these modules, so that the model itself never changes, not even for another thread that runs it.
"""

import copy
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import CellType, FunctionType, MethodType
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from attncli.capturing.patches import capturing
from attncli.data.cached import cached_property
from attncli.models import ModuleHost

_HOOKS = ("_forward_hooks", "_forward_pre_hooks")
_CONTAINERS = (list, dict, set, OrderedDict)
_SHARED = (type(None), bool, int, float, str, torch.Tensor, nn.Parameter)
"""Types of most attributes of modules; they refer to no module."""


class Shadow:
    """Copies of the modules of a model, in eval mode.

    original        the model, which stays unchanged
    model           its copy; parameters and buffers are those of the original
    implementation  how the copy computes attention; only with eager attention can all weights be captured

    A forward pass of the copy may replace modules, buffers and attributes of the copy: BigBird replaces its attention
    modules depending on the text length, dynamic rotary positions replace their frequencies, and Transformers adds
    hooks that record attention. `restored` undoes that, so that several passes can share one copy.
    """

    def __init__(self, model: PreTrainedModel, implementation: str = "eager") -> None:
        self.original = model
        # the originals are kept, so that no other object gets their id
        self._copies: dict[int, tuple[object, object]] = {}
        self._copied_by_config: dict[int, Any] = {}
        self.model: PreTrainedModel = self.of(model)
        if isinstance(model, ModuleHost):
            self._own_buffers()
        self.attend_with(implementation)
        self.model.eval()

    def _own_buffers(self) -> None:
        """Give the copies buffers of their own, which the forward pass of any module may change in place."""
        for module in self.model.modules():
            buffers = vars(module)["_buffers"]
            buffers.update((name, tensor.clone()) for name, tensor in buffers.items() if tensor is not None)

    def attend_with(self, implementation: str) -> None:
        """Let Transformers compute attention by one of its implementations, until another is chosen."""
        for config in _configs(self.model):
            config._attn_implementation_internal = implementation
        vars(self).pop("_contents", None)

    @cached_property
    def named_modules(self) -> tuple[tuple[str, nn.Module], ...]:
        """All modules of the copy with their names, as they are between passes."""
        return tuple(self.model.named_modules())

    @cached_property
    def files(self) -> tuple[Any, ...]:
        """The files of Python with the classes of these modules, without those of torch."""
        names = {cls.__module__ for _, module in self.named_modules for cls in type(module).__mro__}
        return tuple(
            sys.modules[name] for name in sorted(names) if name in sys.modules and not name.startswith("torch")
        )

    @cached_property
    def runs_other_code(self) -> bool:
        """Whether a pass runs code that is no part of the model: hooks of the user or of Accelerate, own modules."""
        replaced = ("_forward_pre_hooks", "_forward_hooks", "forward")
        original = self.original
        return isinstance(original, ModuleHost) or any(
            vars(module).get(name) for module in original.modules() for name in replaced
        )

    @contextmanager
    def restored(self) -> Iterator[None]:
        """Restore modules, their attributes and configurations after the `with` block, also on error."""
        contents = self._contents
        try:
            yield
        finally:
            for container, content in contents:
                if container or content:
                    container.clear()
                    container.extend(content) if isinstance(container, list) else container.update(content)

    @cached_property
    def _contents(self) -> list[tuple[Any, Any]]:
        """Each list, dictionary and set of the copy that a pass can change, with a copy of its content."""
        configs = _configs(self.model)
        copied: list[Any] = [copied for _, copied in self._copies.values()]
        holders = [value for value in copied if isinstance(value, nn.Module)]
        attributes: list[Any] = [vars(holder) for holder in (*configs, *holders)]
        containers = [value for value in copied if type(value) in _CONTAINERS]
        containers += [value for values in attributes for value in values.values() if type(value) in _CONTAINERS]
        distinct = {id(container): container for container in (*attributes, *containers)}
        return [(container, container.copy()) for container in distinct.values()]

    def of(self, value: Any) -> Any:
        """Return the copy of a module, of its configuration, or of what refers to modules; other values unchanged."""
        if type(value) in _SHARED:
            return value
        if id(value) in self._copies:
            return self._copies[id(value)][1]
        if isinstance(value, nn.Module):
            return value if isinstance(value, torch.jit.ScriptModule) else self._module(value)
        if isinstance(value, PreTrainedConfig):
            return copy.deepcopy(value, self._copied_by_config)
        if type(value) in (list, dict, OrderedDict):
            return self._container(value)
        if type(value) in (tuple, set, frozenset):
            return type(value)([self.of(item) for item in tuple(value)])
        return self._callable(value)

    def _remember(self, value: object, copied: object) -> None:
        self._copies[id(value)] = value, copied

    def _module(self, module: nn.Module) -> nn.Module:
        copied: nn.Module = object.__new__(type(module))
        self._remember(module, copied)
        # dict.copy is one step: another thread that runs the model may change its attributes meanwhile
        attributes = vars(module).copy()
        others = [(name, value) for name, value in attributes.items() if type(value) not in _SHARED]
        attributes.update((name, self._hooks(value) if name in _HOOKS else self.of(value)) for name, value in others)
        vars(copied).update(attributes)
        vars(copied)["_compiled_call_impl"] = None  # compiled code would bypass the hooks of the capture
        return copied

    def _container(self, value: Any) -> Any:
        copied = type(value)()
        self._remember(value, copied)
        if isinstance(value, list):
            copied.extend(self.of(item) for item in value.copy())
        elif value:  # most are hooks of modules that have none
            copied.update((key, self.of(item)) for key, item in value.copy().items())
        return copied

    def _hooks(self, hooks: OrderedDict[int, Callable[..., Any]]) -> OrderedDict[int, Callable[..., Any]]:
        """Return the hooks of the user, which are no part of the capture: they may run other models."""
        return OrderedDict((key, _outside_capture(self._bound(hook))) for key, hook in hooks.copy().items())

    def _callable(self, value: Any) -> Any:
        """Return a function that runs the copies of the modules that `value` would run; it replaces `forward`."""
        if (uncompiled := getattr(value, "_torchdynamo_orig_callable", None)) is not None:
            return self.of(uncompiled)
        if isinstance(value, FunctionType):
            return self._function(value)
        return self._bound(value)

    def _bound(self, value: Any) -> Any:
        if isinstance(value, MethodType) and isinstance(value.__self__, nn.Module):
            return MethodType(value.__func__, self.of(value.__self__))
        if isinstance(value, partial):
            copied = partial(
                self.of(value.func), *map(self.of, value.args), **{key: self.of(x) for key, x in value.keywords.items()}
            )
            vars(copied).update({name: self.of(attribute) for name, attribute in vars(value).items()})
            return copied
        return value

    def _function(self, function: FunctionType) -> FunctionType:
        """Return the function with copies of the modules in its closure; the function itself if it has none."""
        cells = function.__closure__ or ()
        copied = [self._cell(cell) for cell in cells]
        if all(new is old for new, old in zip(copied, cells, strict=True)):
            return function
        code, name, defaults = function.__code__, function.__name__, function.__defaults__
        rebuilt = FunctionType(code, function.__globals__, name, defaults, tuple(copied))
        rebuilt.__kwdefaults__ = function.__kwdefaults__
        vars(rebuilt).update({name: self.of(attribute) for name, attribute in vars(function).items()})
        return rebuilt

    def _cell(self, cell: CellType) -> CellType:
        try:
            content = cell.cell_contents
        except ValueError:  # empty
            return cell
        if not isinstance(content, nn.Module | MethodType | partial | FunctionType):
            return cell
        copied = self.of(content)
        return cell if copied is content else CellType(copied)


def shared_shadow(model: PreTrainedModel, passes: int) -> Shadow | None:
    """Return the copy that several passes share; None for a single pass, which makes its own."""
    return Shadow(model) if passes > 1 else None


def _outside_capture(hook: Callable[..., Any]) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        with capturing(None):
            return hook(*args, **kwargs)

    return run


def _configs(model: nn.Module) -> Iterator[PreTrainedConfig]:
    """Yield the configurations of all modules and the configurations inside them."""
    for module in model.modules():
        waiting = [getattr(module, "config", None)]
        while waiting:
            config = waiting.pop()
            if config is not None and hasattr(config, "_attn_implementation_internal"):
                yield config
                waiting += [getattr(config, name, None) for name in getattr(config, "sub_configs", {})]
