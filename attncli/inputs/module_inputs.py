"""Inputs of a module that is no Transformers model: its arguments as tensors, and the names of rows and keys."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils._pytree import tree_flatten

from attncli.data import Input, Kind, Text, Tokens, has_scale
from attncli.errors import UsageError
from attncli.inputs.batches import Batch
from attncli.inputs.text_files import type_name
from attncli.models import LoadedModule, ModuleHost, check_runnable, device_of

Tensor = torch.Tensor
Names = Sequence[str] | Sequence[Sequence[str]] | Mapping[str, Any]
_FORMS = 'expected names as a list of texts, a list of them for each text, or {"query": …, "key": …}'


@dataclass(frozen=True)
class AxisNames:
    """The names of rows and of keys, a list for each text or one for all; None for an axis without names."""

    query: tuple[tuple[str, ...], ...] | None = None
    key: tuple[tuple[str, ...], ...] | None = None

    @classmethod
    def of(cls, names: Names | None) -> AxisNames:
        """Return the names that the user gave; raise UsageError for other forms."""
        if isinstance(names, Mapping):
            if not names or not set(names) <= {"query", "key"}:
                raise UsageError(f"{_FORMS}, got the entries {', '.join(map(str, names))[:100] or 'of nothing'}")
            return cls(**{axis: _lists(value) for axis, value in names.items()})
        lists = None if names is None else _lists(names)
        return cls(lists, lists)

    @property
    def lengths(self) -> tuple[int, ...]:
        """The numbers of names of rows and of keys."""
        return tuple(len(lists[0]) for lists in (self.query, self.key) if lists)


def _lists(names: Any) -> tuple[tuple[str, ...], ...]:
    if isinstance(names, np.ndarray):
        names = names.tolist()
    if isinstance(names, str) or not isinstance(names, Sequence) or not names:
        raise UsageError(f"{_FORMS}, got {type_name(names)}")
    lists = [names] if isinstance(names[0], str) else names
    for row in lists:
        if isinstance(row, str) or not isinstance(row, Sequence) or not all(isinstance(name, str) for name in row):
            raise UsageError(f"{_FORMS}, got {type_name(names)} with {type_name(row)} in it")
    return tuple(tuple(row) for row in lists)


def hold_module(module: nn.Module, inputs: object) -> tuple[LoadedModule, dict[str, Tensor]]:
    """Return a module with what a capture knows about it, and the tensors among its inputs, by name.

    inputs  a tensor, a tuple of arguments, or a dictionary of named arguments; or those of a call
    Raise UsageError for inputs that no pass can read, and for a module that cannot be run as it is.
    """
    check_runnable(module)
    args, kwargs = as_arguments(module, inputs)
    name = type(module).__name__
    leaves, spec = tree_flatten((args, kwargs))
    names = _leaf_names(args, kwargs)
    tensors = {key: leaf for key, leaf in zip(names, leaves, strict=True) if isinstance(leaf, Tensor)}
    if not tensors:
        raise UsageError(f"expected the inputs of {name} as a tensor, a tuple or a dictionary of tensors, got none")
    for key, tensor in tensors.items():
        _check_tensor(key, tensor, device_of(module))
    others = {key: leaf for key, leaf in zip(names, leaves, strict=True) if key not in tensors}
    host = ModuleHost(module, spec, tuple(names), others)
    if isinstance(inputs, Mapping) and not kwargs:
        host.hint = f"; the dictionary is its first argument, as it reads {', '.join(_parameters(module))}"[:200]
    return LoadedModule(host, None, None, name), tensors  # type: ignore[arg-type]  # a host is used like a model


@dataclass(frozen=True, eq=False)
class CallArguments:
    """The arguments of a call that the user's own code makes."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


def as_arguments(module: nn.Module, inputs: object) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the positional and named arguments of a call of a module, arrays as tensors."""
    if isinstance(inputs, CallArguments):
        return inputs.args, dict(inputs.kwargs)
    if isinstance(inputs, Tensor | np.ndarray):
        return (_as_tensor(inputs),), {}
    if isinstance(inputs, Mapping):
        named = {str(key): _as_tensor(value) for key, value in inputs.items()}
        return ((), named) if _takes(module, named) else ((named,), {})
    if isinstance(inputs, list | tuple):
        return tuple(map(_as_tensor, inputs)), {}
    raise UsageError(f"expected inputs as a tensor, a tuple or a dictionary of tensors, got {type_name(inputs)}")


def _as_tensor(value: object) -> Any:
    if not isinstance(value, np.ndarray):
        return value
    try:
        return torch.from_numpy(value.copy())
    except TypeError as error:
        raise UsageError(f"expected inputs of numbers, got an array of {value.dtype}") from error


def _takes(module: nn.Module, named: Mapping[str, Any]) -> bool:
    """Return whether the forward pass takes these names; one that takes a single dictionary does not."""
    parameters = _parameters(module)
    takes_any = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
    needed = [
        name for name, entry in parameters.items() if entry.default is entry.empty and entry.kind < entry.VAR_POSITIONAL
    ]
    if set(named) <= set(parameters) or (takes_any and set(needed) <= set(named)):
        return True
    if len(needed) == 1 and needed[0] not in named:
        return False
    unknown = next(name for name in named if name not in parameters)
    raise UsageError(f"{type(module).__name__} reads no input '{unknown[:60]}': it reads {', '.join(parameters)}"[:450])


def _parameters(module: nn.Module) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(module.forward).parameters


def _leaf_names(args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[str]:
    """Return a name for each leaf of the arguments: that of a named one, else its number."""
    names: list[str] = []
    for label, value in [*((f"input {index}", arg) for index, arg in enumerate(args)), *kwargs.items()]:
        count = len(tree_flatten(value)[0])
        names += [label] if count == 1 else [f"{label}[{index}]" for index in range(count)]
    return names


def _check_tensor(name: str, tensor: Tensor, device: torch.device) -> None:
    if tensor.device != device:
        raise UsageError(f"{name} is on {tensor.device}, the module on {device}: move one of them with .to(…)")
    if tensor.is_nested or tensor.layout != torch.strided or tensor.is_quantized:
        raise UsageError(f"expected {name} as a dense tensor, got a nested, sparse or quantized one")
    if tensor.is_floating_point() and device.type != "meta":
        wrong = tensor.isnan() | tensor.isposinf()
        if bool(wrong.any()):
            raise UsageError(f"{name} has NaN or infinite numbers at {int(wrong.sum())} of {tensor.numel()} positions")
    if not tensor.numel():
        raise UsageError(f"{name} is empty: its shape is {list(tensor.shape)}")


@dataclass(frozen=True)
class AxisShape:
    """What the axes of a kind are: see `ModuleAxes`."""

    rows: int
    keys: int
    extra: tuple[str, ...] = ()


def module_batch(
    tensors: Mapping[str, Tensor],
    size: int,
    axes: Mapping[Kind, AxisShape],
    padding: Mapping[int, Tensor],
    names: AxisNames,
) -> Batch:
    """Return the batch of a module with the names of its rows and keys, without padding.

    size     number of texts
    padding  [text, position] bool of each number of positions
    Raise UsageError if the names do not fit.
    """
    main = {kind: shape for kind, shape in axes.items() if not has_scale(kind)}
    shape = main.get("cross") or next(iter(main.values()), None) or next(iter(axes.values()))
    for lists in (names.query, names.key):
        if lists is not None and len(lists) not in (1, size):
            raise UsageError(f"expected names for {size} texts, got them for {len(lists)}")
    device, crosses = next(iter(tensors.values())).device, "cross" in main
    masks = [_mask(length, size, padding) for length in (shape.rows, shape.keys)]
    inputs = []
    for text in range(size):
        rows, keys = _sides(shape, names, text, [mask[text].nonzero().flatten().tolist() for mask in masks])
        scaled = {kind: _scaled_sides(part, names, text) for kind, part in axes.items() if has_scale(kind)}
        source, target = (keys, rows) if crosses else (rows, None)
        inputs.append(Input(text, Text(_label(text, rows)), source, target, scaled))
    row_mask, key_mask = (mask.to(device) for mask in masks)
    batch = Batch(tuple(inputs), tensors, row_mask, notes=_padding_notes(padding), given=True, fixed=True)
    return replace(batch, source_mask=key_mask, target_mask=row_mask) if crosses else batch


def _label(text: int, rows: Tokens) -> str:
    return f"input {text}: {' '.join(rows.pieces)}"[:200]


def _mask(length: int, size: int, padding: Mapping[int, Tensor]) -> Tensor:
    return ~padding[length] if length in padding else torch.ones((size, length), dtype=torch.bool)


def _sides(shape: AxisShape, names: AxisNames, text: int, real: Sequence[Sequence[int]]) -> list[Tokens]:
    """Return the rows and the keys of one text, without padding; one list for both names the axis that it fits.

    real  positions of the rows and of the keys that are no padding
    """
    lengths = shape.rows, shape.keys - len(shape.extra)
    extra = (), shape.extra
    given = [_of_text(lists, text) for lists in (names.query, names.key)]
    named = [_fitting(*axis) for axis in zip(given, real, lengths, extra, strict=True)]
    for axis, names_of_axis, length, other in zip(("row", "key"), given, lengths, reversed(named), strict=True):
        shared = names.query is names.key and other is not None
        if names_of_axis and named[axis == "key"] is None and not shared:
            raise UsageError(f"expected {length} names, one for each {axis} of attention, got {len(names_of_axis)}")
    numbers = [[str(position) for position in positions] for positions in real]
    return [Tokens.plain(own or default) for own, default in zip(named, numbers, strict=True)]


def _fitting(names: Sequence[str], real: Sequence[int], length: int, extra: Sequence[str]) -> list[str] | None:
    """Return the names of the positions of an axis that are no padding; None if they do not fit."""
    if len(names) == length:
        every = [*names, *extra]
        return [every[position] for position in real]
    if len(names) == len(real) - len(extra):
        return [*names, *extra]
    return [*(str(position) for position in real[: len(real) - len(extra)]), *extra] if extra and not names else None


def _of_text(names: tuple[tuple[str, ...], ...] | None, text: int) -> tuple[str, ...]:
    return () if names is None else names[text if len(names) > 1 else 0]


def _scaled_sides(shape: AxisShape, names: AxisNames, text: int) -> tuple[Tokens, Tokens]:
    """Return the rows and the keys of a kind with a scale: named where the names fit."""
    sides = []
    for length, lists, extra in ((shape.rows, names.query, ()), (shape.keys, names.key, shape.extra)):
        positions = range(length)
        named = _fitting(_of_text(lists, text), positions, length - len(extra), extra)
        sides.append(replace(Tokens.plain(named or list(map(str, positions))), words=np.full(length, -1)))
    return sides[0], sides[1]


def _padding_notes(padding: Mapping[int, Tensor]) -> tuple[str, ...]:
    count = sum(int(mask.sum()) for mask in padding.values())
    return (f"{count} positions of padding are left out: a mask among the inputs hides them",) if count else ()
