"""Interception of the attention calls of a running model, at the dispatch of Transformers and at softmax.

Everything is set up for one `with` block and undone afterwards, also on error. Some of it is global to the process, so
only one capture runs at a time.
"""

import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, Protocol

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from transformers import PreTrainedConfig
from transformers.modeling_utils import AttentionInterface

from attncli.capturing.masks import lazy_masks

Tensor = torch.Tensor
Args = tuple[Any, ...]
KwArgs = dict[str, Any]
Output = tuple[Tensor, Tensor | None]
"""What an attention function returns: its output [batch, query, head, dim], and its weights or None."""
CallKey = tuple[str, int]
"""Identifies a call: the qualified name of the module that makes it, and how many calls it made before in this pass."""

_CAPTURE_LOCK = threading.RLock()


class Handler(Protocol):
    """What a pass does with the calls that are intercepted."""

    def dispatched(self, key: CallKey, function: Callable[..., Output], args: Args, kwargs: KwArgs) -> Output:
        """Replace an attention function that Transformers would call; `args` begins with the calling module."""

    def sdpa(self, key: CallKey, function: Callable[..., Tensor], args: Args, kwargs: KwArgs) -> Tensor:
        """Replace a direct call of `scaled_dot_product_attention`; return its output."""

    def softmax(self, key: CallKey, scores: Tensor, weights: Tensor) -> None:
        """Read the scores and result of a softmax outside of any dispatched attention."""

    def inner_softmax(self, scores: Tensor) -> None:
        """Read the scores of a softmax inside the dispatched attention that is running."""


class Trace:
    """The modules that are running, outermost first, and the number of attention calls of each module."""

    def __init__(self, model: nn.Module) -> None:
        self.stack: list[str] = []
        self.inside = 0
        self._attention = {
            name
            for name, module in model.named_modules()
            if name and "att" in f"{name.rpartition('.')[2]} {type(module).__name__}".lower()
        }
        self._calls: Counter[str] = Counter()

    def next_key(self) -> CallKey:
        """Return the key of a call by the innermost running module, and count the call."""
        name = self.stack[-1] if self.stack else ""
        self._calls[name] += 1
        return name, self._calls[name] - 1

    def attention_module(self) -> str | None:
        """Return the innermost running module that is attention by its name or class."""
        return next((name for name in reversed(self.stack) if name in self._attention), None)

    @contextmanager
    def follow(self, model: nn.Module) -> Iterator[None]:
        with ExitStack() as hooks:
            for name, module in model.named_modules():
                enter = partial(self._enter, name)
                hooks.callback(module.register_forward_pre_hook(enter).remove)
                hooks.callback(module.register_forward_hook(self._leave, always_call=True).remove)
            yield

    def _enter(self, name: str, module: nn.Module, args: object) -> None:
        self.stack.append(name)

    def _leave(self, module: nn.Module, args: object, output: object) -> None:
        self.stack.pop()


@contextmanager
def intercepted(model: nn.Module, handler: Handler, *, functions: bool) -> Iterator[Trace]:
    """Hand every attention call of `model` to `handler`, inside the `with` block.

    functions  also intercept softmax and `scaled_dot_product_attention` where the model calls them itself
    """
    trace = Trace(model)
    with _CAPTURE_LOCK, ExitStack() as stack:
        stack.enter_context(_eager(model))
        stack.enter_context(trace.follow(model))
        stack.enter_context(lazy_masks())
        stack.enter_context(_intercepted_dispatch(model, trace, handler))
        if functions:
            stack.enter_context(_TorchFunctions(trace, handler))
        yield trace


@contextmanager
def _intercepted_dispatch(model: nn.Module, trace: Trace, handler: Handler) -> Iterator[None]:
    """Wrap the functions that `AttentionInterface.get_interface` returns, without renaming the implementation.

    Transformers 5.0 has no such method: its models use a subscript. Model files that bypass the interface call
    `eager_attention_forward` of their own file: it is replaced there.
    """
    method = "get_interface" if hasattr(AttentionInterface, "get_interface") else "__getitem__"
    original = getattr(AttentionInterface, method)

    def get_wrapped(*args: object, **kwargs: object) -> Callable[..., Output]:
        return _wrapped(original(*args, **kwargs), trace, handler)

    setattr(AttentionInterface, method, get_wrapped)
    replaced = []
    try:
        for file in _source_modules(model):
            function = getattr(file, "eager_attention_forward", None)
            if function is not None:
                replaced.append((file, function))
                file.eager_attention_forward = _wrapped(function, trace, handler)
        yield
    finally:
        setattr(AttentionInterface, method, original)
        for file, function in replaced:
            file.eager_attention_forward = function


def _source_modules(model: nn.Module) -> list[Any]:
    names = {cls.__module__ for module in model.modules() for cls in type(module).__mro__}
    return [sys.modules[name] for name in sorted(names) if name in sys.modules and not name.startswith("torch")]


def _wrapped(function: Callable[..., Output], trace: Trace, handler: Handler) -> Callable[..., Output]:
    """Return an attention function that calls the handler; one that is wrapped already is not wrapped twice."""
    original = getattr(function, "_attncli_wraps", function)

    def attention(*args: Any, **kwargs: Any) -> Output:
        trace.inside += 1
        try:
            return handler.dispatched(trace.next_key(), original, args, kwargs)
        finally:
            trace.inside -= 1

    attention._attncli_wraps = original  # type: ignore[attr-defined]
    return attention


_SOFTMAX = frozenset({torch.softmax, torch.nn.functional.softmax, torch.Tensor.softmax, torch.special.softmax})


class _TorchFunctions(TorchFunctionMode):
    """A mode that intercepts softmax and `scaled_dot_product_attention`."""

    def __init__(self, trace: Trace, handler: Handler) -> None:
        super().__init__()
        self._trace, self._handler = trace, handler

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _SOFTMAX:
            scores = args[0] if args else kwargs["input"]
            if self._trace.inside:
                self._handler.inner_softmax(scores)
                return func(*args, **kwargs)
            weights = func(*args, **kwargs)
            self._handler.softmax(self._trace.next_key(), scores, weights)
            return weights
        if func is torch.nn.functional.scaled_dot_product_attention and not self._trace.inside:
            return self._handler.sdpa(self._trace.next_key(), func, args, kwargs)
        return func(*args, **kwargs)


@contextmanager
def _eager(model: nn.Module) -> Iterator[None]:
    """Set eval mode and the implementation `eager` in every configuration; afterwards restore these and every module.

    Every attribute, parameter, buffer and hook is restored: BigBird replaces its attention modules depending on the
    text length, dynamic rotary positions replace their frequencies, and Transformers leaves hooks behind that would
    record attention twice in the next pass.
    """
    before = [(module, dict(vars(module))) for module in model.modules()]
    parts = [part for _, attributes in before for part in attributes.values() if isinstance(part, dict | set)]
    contents = [part.copy() for part in parts]
    configs = {id(config): (config, config._attn_implementation_internal) for config in _configs(model)}
    try:
        for config, _ in configs.values():
            config._attn_implementation_internal = "eager"
        model.eval()
        yield
    finally:
        for config, name in configs.values():
            config._attn_implementation_internal = name
        for module, attributes in before:
            vars(module).clear()
            vars(module).update(attributes)
        for part, content in zip(parts, contents, strict=True):
            part.clear()
            part.update(content)


def _configs(model: nn.Module) -> Iterator[PreTrainedConfig]:
    """Yield the configurations of all modules and the configurations inside them."""
    for module in model.modules():
        waiting = [getattr(module, "config", None)]
        while waiting:
            config = waiting.pop()
            if config is not None and hasattr(config, "_attn_implementation_internal"):
                yield config
                waiting += [getattr(config, name, None) for name in getattr(config, "sub_configs", {})]
