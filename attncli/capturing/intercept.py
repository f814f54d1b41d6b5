"""Standing between a running model and its attention: where it dispatches, and where it calls softmax itself.

All of it lasts for one `with` block and is taken back also on error. The wrapped lookups are global to the process,
so one capture runs at a time.
"""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from transformers.modeling_utils import AttentionInterface

from attncli.capturing.masks import lazy_masks

Tensor = torch.Tensor
Key = tuple[str, int]
"""A call: the qualified name of the running module and how often it called before in this pass."""

_ONE_AT_A_TIME = threading.RLock()


class Handler(Protocol):
    """What a route does with the calls that it is shown."""

    def dispatched(self, key: Key, function: Callable[..., Any], module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        """In place of the attention function that Transformers would call: (output, weights or None)."""

    def sdpa(self, key: Key, function: Callable[..., Any], args: Any, kwargs: Any) -> Tensor:
        """In place of a direct call of `scaled_dot_product_attention`: its output."""

    def softmax(self, key: Key, scores: Tensor, weights: Tensor) -> None:
        """After a softmax outside of any dispatched attention."""

    def inner_softmax(self, scores: Tensor) -> None:
        """After a softmax of the dispatched attention that is running."""


class Trace:
    """Which modules are running, outermost first, and how often each called attention."""

    def __init__(self, model: nn.Module) -> None:
        self.stack: list[str] = []
        self.inside = 0
        self._names = {id(module): name for name, module in model.named_modules()}
        self._attention = {name for name, module in model.named_modules() if name and _is_attention(name, module)}
        self._calls: Counter[str] = Counter()

    def key(self) -> Key:
        """The name of the innermost running module and the number of its calls so far; counts this one."""
        name = self.stack[-1] if self.stack else ""
        self._calls[name] += 1
        return name, self._calls[name] - 1

    def attention(self) -> str | None:
        """The innermost running module that is attention by its name or class."""
        return next((name for name in reversed(self.stack) if name in self._attention), None)

    @contextmanager
    def follow(self, model: nn.Module) -> Iterator[None]:
        """Hooks on every module for the length of the block."""
        with ExitStack() as hooks:
            for module in model.modules():
                for handle in (
                    module.register_forward_pre_hook(self._enter),
                    module.register_forward_hook(self._leave, always_call=True),
                ):
                    hooks.callback(handle.remove)
            yield

    def _enter(self, module: nn.Module, args: Any) -> None:
        self.stack.append(self._names[id(module)])

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        self.stack.pop()


def _is_attention(name: str, module: nn.Module) -> bool:
    return "att" in name.rpartition(".")[2].lower() or "att" in type(module).__name__.lower()


@contextmanager
def intercepted(model: nn.Module, handler: Handler, *, functions: bool) -> Iterator[Trace]:
    """Show every attention call of `model` to `handler`.

    functions   whether softmax and `scaled_dot_product_attention` outside of the dispatch are watched too
    """
    trace = Trace(model)
    with _ONE_AT_A_TIME, ExitStack() as stack:
        stack.enter_context(_left_as_found(model))
        stack.enter_context(_eager_everywhere(model))
        stack.enter_context(trace.follow(model))
        stack.enter_context(lazy_masks())
        stack.enter_context(_dispatch(model, trace, handler))
        if functions:
            stack.enter_context(_Functions(trace, handler))
        yield trace


# --------------------------------------------------------------------------------------- the dispatch


@contextmanager
def _dispatch(model: nn.Module, trace: Trace, handler: Handler) -> Iterator[None]:
    """Wrap what `AttentionInterface.get_interface` answers, under the implementation's own name.

    Transformers 5.0 has no such method: its models ask by subscript. Modules of files that bypass it name
    `eager_attention_forward` in their own file: it is replaced there.
    """
    method = "get_interface" if hasattr(AttentionInterface, "get_interface") else "__getitem__"
    original = getattr(AttentionInterface, method)

    def answer(*args: Any, **kwargs: Any) -> Callable[..., Any]:
        return _shown(original(*args, **kwargs), trace, handler)

    setattr(AttentionInterface, method, answer)
    replaced = []
    try:
        for file in _files(model):
            function = getattr(file, "eager_attention_forward", None)
            if function is not None:
                replaced.append((file, function))
                file.eager_attention_forward = _shown(function, trace, handler)
        yield
    finally:
        setattr(AttentionInterface, method, original)
        for file, function in replaced:
            file.eager_attention_forward = function


def _files(model: nn.Module) -> list[Any]:
    names = {cls.__module__ for module in model.modules() for cls in type(module).__mro__}
    return [sys.modules[name] for name in sorted(names) if name in sys.modules and not name.startswith("torch")]


def _shown(function: Callable[..., Any], trace: Trace, handler: Handler) -> Callable[..., Any]:
    real = getattr(function, "_attncli_wraps", function)

    def attention(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        trace.inside += 1
        try:
            return handler.dispatched(trace.key(), real, module, *args, **kwargs)
        finally:
            trace.inside -= 1

    attention._attncli_wraps = real  # type: ignore[attr-defined]
    return attention


# ------------------------------------------------------------------------------------- softmax itself

_SOFTMAX = frozenset({torch.softmax, torch.nn.functional.softmax, torch.Tensor.softmax, torch.special.softmax})


class _Functions(TorchFunctionMode):
    def __init__(self, trace: Trace, handler: Handler) -> None:
        super().__init__()
        self._trace, self._handler = trace, handler

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self._trace.inside:
            if func in _SOFTMAX:
                self._handler.inner_softmax(args[0] if args else kwargs["input"])
            return func(*args, **kwargs)
        if func is torch.nn.functional.scaled_dot_product_attention:
            return self._handler.sdpa(self._trace.key(), func, args, kwargs)
        result = func(*args, **kwargs)
        if func in _SOFTMAX:
            scores = args[0] if args else kwargs["input"]
            self._handler.softmax(self._trace.key(), scores, result)
        return result


# -------------------------------------------------------------------------------------- configuration


@contextmanager
def _eager_everywhere(model: nn.Module) -> Iterator[None]:
    """The implementation name `eager` in every configuration, and eval mode; both as found afterwards."""
    configs = {id(config): config for config in _configs(model)}
    before = [(config, config._attn_implementation_internal) for config in configs.values()]
    try:
        for config, _ in before:
            config._attn_implementation_internal = "eager"
        model.eval()
        yield
    finally:
        for config, name in before:
            config._attn_implementation_internal = name


@contextmanager
def _left_as_found(model: nn.Module) -> Iterator[None]:
    """Every attribute, parameter, buffer and hook of every module as before.

    BigBird, for one, swaps its attention modules by text length, dynamic rotary positions their frequencies; and
    Transformers leaves hooks behind where it was asked for attention, which would answer twice the next time.
    """
    before = [
        (module, dict(module.__dict__), [(part, part.copy()) for part in vars(module).values() if _is_kept(part)])
        for module in model.modules()
    ]
    try:
        yield
    finally:
        for module, attributes, contents in before:
            module.__dict__.clear()
            module.__dict__.update(attributes)
            for part, content in contents:
                part.clear()
                part.update(content)


def _is_kept(part: Any) -> bool:
    return isinstance(part, dict | set)


def _configs(model: nn.Module) -> Iterator[Any]:
    for module in model.modules():
        config = getattr(module, "config", None)
        todo = [config]
        while todo:
            one = todo.pop()
            if not hasattr(one, "_attn_implementation_internal"):
                continue
            yield one
            todo += [getattr(one, name, None) for name in getattr(one, "sub_configs", {})]
