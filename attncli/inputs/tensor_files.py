"""Tensors that PyTorch saved, read without running code: one, one per layer, or those of each step of generate."""

import pickle
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attncli.errors import UsageError

if TYPE_CHECKING:
    import torch

_READ_ERRORS = (
    *(OSError, ValueError, KeyError, EOFError, MemoryError, OverflowError, TypeError, AttributeError, IndexError),
    *(RuntimeError, ImportError, pickle.UnpicklingError, zipfile.BadZipFile),
)
_EXPECTED = 'expected tensors alone, as torch.save(outputs.attentions, "maps.pt") writes'


def load_tensors(path: Path, pick: Callable[[list[str]], Iterable[str]], fits: Callable[[int], None]) -> dict[str, Any]:
    """Return NumPy arrays of a file that `torch.save` wrote: an array, a list of arrays or a list of such lists.

    pick  receives the names of all values and returns those to read; a value without a name is named after the file
    fits  receives the bytes that these need in memory before they are read, and raises an error if they are too many

    Raise UsageError for a damaged file, and for a file with other objects than tensors, lists, tuples and dicts.
    """
    content = _load(path)
    values: Mapping[Any, Any] = content if isinstance(content, dict) else {path.stem: content}
    names = list(pick([name for name in values if isinstance(name, str)]))
    for name in names:
        _check(path, values[name])
    fits(sum(map(_needed, (tensor for name in names for tensor in _tensors(values[name])))))
    return {name: _as_numpy(values[name]) for name in names}


def _load(path: Path) -> object:
    # imported here: other files of maps need no torch
    import torch

    try:
        try:
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError:  # the format of torch before 1.6 cannot be mapped
            return torch.load(path, map_location="cpu", weights_only=True)
    except _READ_ERRORS as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:100]
        raise UsageError(f"cannot read {path}: {reason}; {_EXPECTED}") from error


def _check(path: Path, value: object, depth: int = 0) -> None:
    """Raise UsageError unless a value is a dense tensor of real numbers, or lists of such tensors."""
    import torch

    if (
        isinstance(value, (list, tuple))
        and value
        and depth < 2
        and len({isinstance(e, torch.Tensor) for e in value}) == 1
    ):
        for entry in value:
            _check(path, entry, depth + 1)
    elif not isinstance(value, torch.Tensor):
        got = "an empty list" if value in ([], ()) else type(value).__name__
        raise UsageError(f"cannot read {path}: {_EXPECTED}; got {got}")
    elif value.layout != torch.strided or value.is_complex() or value.is_quantized or value.device.type == "meta":
        raise UsageError(f"cannot read {path}: expected dense tensors of real numbers, got {value.dtype}")


def _tensors(value: Any) -> "Iterator[torch.Tensor]":
    if isinstance(value, (list, tuple)):
        for entry in value:
            yield from _tensors(entry)
    else:
        yield value


def _needed(tensor: "torch.Tensor") -> int:
    converted = tensor.element_size() not in (1, 4)
    return tensor.numel() * (tensor.element_size() + (4 if converted else 0))


def _as_numpy(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_as_numpy(entry) for entry in value]
    tensor = value.detach()
    # NumPy has no bfloat16 and no 8-bit floats
    known = str(tensor.dtype).removeprefix("torch.") in ("float16", "float32", "float64", "bool", "int32", "int64")
    return (tensor if known else tensor.float()).resolve_neg().numpy()
