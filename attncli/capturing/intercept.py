"""Interception of the attention calls of a running model, at the dispatch of Transformers and at softmax.

Everything is set up for one `with` block and undone afterwards, also on error. It acts only on the modules of a shadow
(see `shadow.py`) and in the thread that runs them.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial, wraps
from typing import Any, Protocol

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from transformers.modeling_utils import AttentionInterface

from attncli.capturing.composed import COMPOSED, Composed, run_composed
from attncli.capturing.flex import plain_flex
from attncli.capturing.masks import lazy_masks
from attncli.capturing.patches import capturing, current_capture, installed, only_capture_of
from attncli.capturing.shadow import Shadow
from attncli.data.cached import cached_property
from attncli.models import ModuleHost

Tensor = torch.Tensor
Args = tuple[Any, ...]
KwArgs = dict[str, Any]
Output = tuple[Tensor, Tensor | None]
"""What an attention function returns: its output [batch, query, head, dim], and its weights or None."""
CallKey = tuple[str, int]
"""Identifies a call: the qualified name of the module that makes it, and how many calls it made before in this pass."""


class Handler(Protocol):
    """What a pass does with the calls that are intercepted."""

    def dispatched(self, key: CallKey, function: Callable[..., Output], args: Args, kwargs: KwArgs) -> Output:
        """Replace an attention function that Transformers would call; `args` begins with the calling module."""

    def sdpa(self, key: CallKey, function: Callable[..., Tensor], args: Args, kwargs: KwArgs) -> Tensor:
        """Replace a direct call of `scaled_dot_product_attention`; return its output."""

    def softmax(self, key: CallKey, scores: Tensor, weights: Tensor) -> Tensor:
        """Return what replaces the result of a softmax outside of any dispatched attention: mostly itself."""

    def inner_softmax(self, scores: Tensor, weights: Tensor) -> Tensor:
        """Return what replaces the result of a softmax inside the dispatched attention that is running."""


class Trace:
    """The modules that are running, outermost first, and the number of attention calls of each module.

    opens     whether functions of torch that compute attention inside are opened, to see how they do
    composed  what is known of the opened function that is running
    """

    def __init__(self, shadow: Shadow, handler: Handler) -> None:
        self.handler, self.opens = handler, isinstance(shadow.model, ModuleHost)
        self.composed: Composed | None = None
        self.stack: list[str] = []
        self.inside = 0
        self._thread = threading.get_ident()
        self._modules = shadow.named_modules
        self._calls: Counter[str] = Counter()

    @cached_property
    def _attention(self) -> set[str]:
        """The names of modules that are attention by their name or class."""
        return {
            name
            for name, module in self._modules
            if name and "att" in f"{name.rpartition('.')[2]} {type(module).__name__}".lower()
        }

    @property
    def running(self) -> bool:
        """Whether this thread runs a module of the captured model."""
        return bool(self.stack) and threading.get_ident() == self._thread

    def next_key(self) -> CallKey:
        """Return the key of a call by the innermost running module, and count the call."""
        name = self.stack[-1] if self.stack else ""
        self._calls[name] += 1
        return name, self._calls[name] - 1

    def restart(self) -> None:
        """Count calls from 0 again, for another forward pass."""
        self._calls.clear()

    def attention_module(self) -> str | None:
        """Return the innermost running module that is attention by its name or class."""
        return next((name for name in reversed(self.stack) if name in self._attention), None)

    @contextmanager
    def follow(self) -> Iterator[None]:
        """Keep `stack` up to date inside the `with` block, by hooks of all modules.

        They are put where `register_forward_hook` puts them, which takes longer than a layer of a short text.
        """
        key: Any = self  # torch numbers its hooks
        try:
            for name, module in self._modules:
                module._forward_pre_hooks[key] = partial(self._enter, name)
                module._forward_hooks[key] = self._leave
                module._forward_hooks_always_called[key] = True
            yield
        finally:
            for _, module in self._modules:
                for hooks in (module._forward_pre_hooks, module._forward_hooks, module._forward_hooks_always_called):
                    hooks.pop(key, None)

    def _enter(self, name: str, module: nn.Module, args: object) -> None:
        self.stack.append(name)

    def _leave(self, module: nn.Module, args: object, output: object) -> None:
        self.stack.pop()


@contextmanager
def intercepted(shadow: Shadow, handler: Handler, *, functions: bool) -> Iterator[Trace]:
    """Hand every attention call of a shadow to `handler`, inside the `with` block.

    functions  also intercept softmax and `scaled_dot_product_attention` where the model calls them itself
    Another thread that captures the same model waits. Calls of other models, threads and tasks are not intercepted.
    """
    trace = Trace(shadow, handler)
    with only_capture_of(shadow.original), ExitStack() as stack:
        stack.enter_context(trace.follow())
        stack.enter_context(lazy_masks())
        stack.enter_context(_intercepted_dispatch(shadow))
        if trace.opens:
            stack.enter_context(plain_flex(shadow.model))
        stack.enter_context(capturing(trace))
        if functions:
            stack.enter_context(_TorchFunctions(trace))
        yield trace


def _current_trace() -> Trace | None:
    trace = current_capture()
    return trace if isinstance(trace, Trace) else None


@contextmanager
def _intercepted_dispatch(shadow: Shadow) -> Iterator[None]:
    """Wrap the functions that `AttentionInterface.get_interface` returns, without renaming the implementation.

    Transformers 5.0 has no such method: its models use a subscript. Model files that bypass the interface call
    `eager_attention_forward` of their own file: it is replaced there.
    """
    with ExitStack() as stack:
        stack.enter_context(installed(AttentionInterface, _wrap_interface))
        for file in shadow.files:
            if hasattr(file, "eager_attention_forward"):
                stack.enter_context(installed(file, partial(_wrap_function_of, file)))
        yield


def _wrap_interface() -> Callable[[], None]:
    """Wrap the functions that the interface returns to a capture; return the function that undoes it."""
    method = "get_interface" if hasattr(AttentionInterface, "get_interface") else "__getitem__"
    original = getattr(AttentionInterface, method)

    def get_wrapped(*args: object, **kwargs: object) -> Callable[..., Output]:
        function: Callable[..., Output] = original(*args, **kwargs)
        return function if current_capture() is None else _wrapped(function)

    setattr(AttentionInterface, method, get_wrapped)
    return partial(setattr, AttentionInterface, method, original)


def _wrap_function_of(file: Any) -> Callable[[], None]:
    """Wrap the attention function of a model file; return the function that undoes it."""
    original = file.eager_attention_forward
    file.eager_attention_forward = _wrapped(original)
    return partial(setattr, file, "eager_attention_forward", original)


def _wrapped(function: Callable[..., Output]) -> Callable[..., Output]:
    """Return an attention function that calls the handler of the capture that calls it, and else the original.

    A function that is wrapped already is not wrapped twice.
    """
    original = getattr(function, "_attncli_wraps", function)

    @wraps(original)
    def attention(*args: Any, **kwargs: Any) -> Output:
        trace = _current_trace()
        if trace is None:
            return original(*args, **kwargs)
        trace.inside += 1
        try:
            return trace.handler.dispatched(trace.next_key(), original, args, kwargs)
        finally:
            trace.inside -= 1

    attention._attncli_wraps = original  # type: ignore[attr-defined]
    return attention


_SOFTMAX = frozenset({torch.softmax, torch.nn.functional.softmax, torch.Tensor.softmax, torch.special.softmax})
_INTERCEPTED = _SOFTMAX | {torch.nn.functional.scaled_dot_product_attention}


class _TorchFunctions(TorchFunctionMode):
    """A mode that intercepts softmax and `scaled_dot_product_attention` of one capture.

    A mode holds for a thread: other tasks of the thread, hooks and captures inside of the capture pass through it.
    """

    def __init__(self, trace: Trace) -> None:
        super().__init__()
        self._trace = trace

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, trace = kwargs or {}, self._trace
        if trace.opens and func in COMPOSED and current_capture() is trace:
            with self:
                return run_composed(trace, func, args, kwargs)
        if func not in _INTERCEPTED or current_capture() is not trace:
            return func(*args, **kwargs)
        if func in _SOFTMAX:
            scores = args[0] if args else kwargs["input"]
            weights = func(*args, **kwargs)
            if trace.inside:
                return trace.handler.inner_softmax(scores, weights)
            return trace.handler.softmax(trace.next_key(), scores, weights)
        if trace.inside:
            return func(*args, **kwargs)
        return trace.handler.sdpa(trace.next_key(), func, args, kwargs)
