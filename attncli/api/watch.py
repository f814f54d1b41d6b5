"""`attncli.watch`: the attention of a module in every call that the user's own code makes inside a context."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import replace
from functools import partial, update_wrapper
from types import TracebackType
from typing import Any, Self, Unpack

import torch
from torch import nn
from torch.utils._pytree import tree_map

from attncli.api.model import capture
from attncli.api.run import Run
from attncli.arguments import checked
from attncli.capturing.patches import installed
from attncli.data import Text
from attncli.data.described import counted
from attncli.engine.request import Request, RunOptions
from attncli.errors import AttnError, UsageError
from attncli.inputs.module_inputs import CallArguments
from attncli.models import device_of, plain_module
from attncli.store import input_sha256

_WATCHES: ContextVar[tuple[Watch, ...]] = ContextVar("attncli_watches", default=())


class Watch:
    """A context in which every call of a module is measured; made by `attncli.watch`.

    The module returns what it returns anyway: after each call, a copy that shares its weights reads the same inputs.
    """

    def __init__(self, module: nn.Module, measure: Callable[[tuple[Any, ...], dict[str, Any]], Run]) -> None:
        self._module, self._measure = module, measure
        self._runs: list[Run] = []
        self._error: AttnError | None = None
        self._open = ExitStack()

    def __enter__(self) -> Self:
        if any(watch._module is self._module for watch in _WATCHES.get()):
            raise UsageError(f"this {type(self._module).__name__} is watched already: one watch measures all its calls")
        with ExitStack() as stack:
            stack.enter_context(installed(self._module, partial(_install, self._module)))
            stack.enter_context(_watching((*_WATCHES.get(), self)))
            self._open = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._open.close()

    def __repr__(self) -> str:
        return f"Watch of {type(self._module).__name__}: {counted(len(self._runs), 'call')}"

    @property
    def runs(self) -> tuple[Run, ...]:
        """One run for each call, in their order; raise the error of a call that could not be measured."""
        if self._error is not None:
            raise self._error
        return tuple(self._runs)

    @property
    def run(self) -> Run:
        """All calls as one run, in which each text of each call is a text.

        Raise UsageError if nothing ran, or if the calls have other layers or heads; the error of a call that could
        not be measured, too.
        """
        runs, name = self.runs, type(self._module).__name__
        if not runs:
            raise UsageError(f"{name} did not run to its end inside the with block: watch the module that you call")
        return runs[0] if len(runs) == 1 else _joined(runs, name)

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _keep_call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Capture one call of the module, with the arguments that it had; keep its run, or why there is none."""
        device = device_of(self._module)
        devices = [device] if device.type == "cuda" else []
        with _watching(()), torch.random.fork_rng(devices):
            try:
                self._runs.append(self._measure(args, kwargs))
            except AttnError as error:
                self._error = self._error or error


@checked
def watch(module: Any, tokenizer: Any = None, *, names: Any = None, **options: Unpack[RunOptions]) -> Watch:
    """Return a context that measures the attention of a module in every call inside; `.run` is the result.

        with attncli.watch(module, names=["age", "income", "height"]) as watched:
            module(batch)
        watched.run.heatmap()

    Calls that other threads make, and other modules, are not measured. Dropout is off in what is measured.

    module            a `torch.nn.Module`, also a Transformers model
    tokenizer, names, options   as for `attncli.capture`
    Raise UsageError if the module is watched already in this context.
    """
    if not isinstance(module, nn.Module):
        raise UsageError(f"expected a torch.nn.Module to watch, got {type(module).__name__}")
    if not type(module).__call__.__module__.startswith("torch."):
        raise UsageError(f"{type(module).__name__} is called without its forward: use attncli.capture(module, inputs)")
    Request.of(options)

    plain = plain_module(module, whole=names is not None) is not None

    def measure(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Run:
        inputs = CallArguments(args, kwargs) if plain else _named(module, args, kwargs)
        return capture(module, inputs, tokenizer, names=names, **options)

    return Watch(module, measure)


def _named(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return the arguments of a call of a Transformers model by name; the tensors of a dictionary that is alone."""
    if len(args) == 1 and isinstance(args[0], Mapping):
        return {name: value for name, value in args[0].items() if isinstance(value, torch.Tensor)}
    arguments = inspect.signature(module.forward).bind(*args, **kwargs).arguments
    options = "kwargs", "use_cache", "output_attentions", "output_hidden_states", "return_dict"
    return {name: value for name, value in arguments.items() if name not in options}


@contextmanager
def _watching(watches: tuple[Watch, ...]) -> Iterator[None]:
    token = _WATCHES.set(watches)
    try:
        yield
    finally:
        _WATCHES.reset(token)


def _install(module: nn.Module) -> Callable[[], None]:
    """Wrap the forward pass of a module; return the function that undoes it.

    A hook would switch off the fast path of torch's encoder, whose output differs at padding.
    """
    own = vars(module).get("forward")
    vars(module)["forward"] = _WatchedForward(module)

    def undo() -> None:
        if own is None:
            del vars(module)["forward"]
        else:
            vars(module)["forward"] = own

    return undo


class _WatchedForward(partial):  # type: ignore[type-arg]
    """The forward pass of a module that is watched; a partial, as captures know to copy these with their module."""

    def __new__(cls, module: nn.Module) -> Self:
        made = super().__new__(cls, _run_watched, module, module.forward)
        update_wrapper(made, module.forward)
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        # a copy of the module, and a file of it, has a forward pass of its own and is not watched
        module, original = self.args
        is_own = getattr(original, "__func__", None) is not type(module).forward
        return (_unchanged, (original,)) if is_own else (getattr, (module, "forward"))


def _run_watched(module: nn.Module, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Run the forward pass of a module, and measure the call for those that watch the module here."""
    watching = [watch for watch in _WATCHES.get() if watch._module is module]
    read: Any = tree_map(_copied, (args, kwargs)) if watching else None
    output = original(*args, **kwargs)
    for watch in watching:
        watch._keep_call(*read)
    return output


def _unchanged(value: Any) -> Any:
    return value


def _copied(value: Any) -> Any:
    """Return a copy of a tensor or of a mapping of them, which the module may change; other values unchanged."""
    if isinstance(value, Mapping):
        return {name: _copied(entry) for name, entry in value.items()}
    return value.detach().clone() if isinstance(value, torch.Tensor) else value


def _joined(runs: tuple[Run, ...], name: str) -> Run:
    """Return the runs of several calls as one run; raise UsageError if they do not fit together."""
    layers = [{(maps.kind, layer.layer, layer.heads) for maps in run.maps for layer in maps.layers} for run in runs]
    if not all(layers):
        raise UsageError(f"the {len(runs)} calls of {name} kept no maps to join: read them one by one from .runs")
    if any(part != layers[0] for part in layers):
        raise UsageError(f"the calls of {name} have other layers or heads: read them one by one from .runs")
    maps, inputs, first = [], [], 0
    for call, run in enumerate(runs):
        maps += [replace(attention, text=attention.text + first) for attention in run.maps]
        for encoded in run.inputs:
            text = Text(f"call {call}, {encoded.text.text}", target=encoded.text.target)
            inputs.append(replace(encoded, index=encoded.index + first, text=text))
        first = len(inputs)
    notes = tuple(dict.fromkeys(note for run in runs for note in run.info.notes))
    sha256 = input_sha256([encoded.text for encoded in inputs])
    info = replace(runs[0].info, notes=notes, input_sha256=sha256)
    return Run(info, tuple(inputs), tuple(maps))
