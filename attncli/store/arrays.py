"""Named arrays in one file: safetensors or npz, never pickle; equal arrays are stored once."""

import hashlib
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from attncli.data import Array
from attncli.errors import UsageError
from attncli.store.files import atomic_file
from attncli.store.headers import (
    Fits,
    any_size,
    check_needed,
    is_zip,
    npy_header,
    npz_header,
    npz_names,
    read_npy,
    safetensors_header,
)

_DTYPE_CODES = {"float64": "F64", "int64": "I64", "float32": "F32", "int32": "I32", "uint8": "U8", "bool": "BOOL"}
NOTE = "attncli"
"""Name of the text in the header of a file."""
_READ_ERRORS = (
    *(OSError, ValueError, KeyError, EOFError, MemoryError, OverflowError, SyntaxError, TypeError, struct.error),
    *(zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError),
)


@dataclass(frozen=True)
class ArrayStack:
    """One array, or with `stacked` several arrays that are written as one, stacked along a new first axis."""

    parts: tuple[Array, ...]
    stacked: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        shape = self.parts[0].shape
        return (len(self.parts), *shape) if self.stacked else shape

    @property
    def array(self) -> Array:
        return np.stack(self.parts) if self.stacked else self.parts[0]


class ArrayPool:
    """Collects arrays under unique names; equal arrays can share a name."""

    def __init__(self) -> None:
        self.stacks: dict[str, ArrayStack] = {}
        self._names: dict[object, str] = {}
        self._alive: list[Array] = []  # keeps the arrays, so that no other array gets the same address

    def add(self, name: str, parts: Sequence[Array], stacked: bool = False) -> str:
        """Add an array; return its name, with a number appended if the name is in use."""
        name = name.replace("\0", "")  # a zip file would cut the name there
        free, number = name, 1
        while free in self.stacks:
            free, number = f"{name}~{number}", number + 1
        self.stacks[free] = ArrayStack(tuple(parts), stacked)
        return free

    def share(self, name: str, array: Array) -> str:
        """Add an array unless the same memory or the same content was shared before; return its name."""
        memory = (array.__array_interface__["data"][0], array.shape, array.strides, array.dtype.str)
        if memory not in self._names:
            content = hashlib.sha256(np.ascontiguousarray(array).tobytes()).digest()
            key = (content, array.shape, array.dtype.str)
            if key not in self._names:
                self._names[key] = self.add(name, [array])
            self._names[memory] = self._names[key]
            self._alive.append(array)
        return self._names[memory]


def save_arrays(path: Path, stacks: Mapping[str, ArrayStack]) -> None:
    """Write arrays to a `.safetensors` or `.npz` file; the same arrays always give the same bytes."""
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        if path.suffix == ".npz":
            # no `allow_pickle`: NumPy before 2.1 would store it as another array
            arrays: dict[str, Any] = {name: stack.array for name, stack in stacks.items()}
            np.savez(file, **arrays)
        else:
            _write_safetensors(file, stacks)


def _write_safetensors(file: BinaryIO, stacks: Mapping[str, ArrayStack], note: str = "") -> None:
    """Write arrays, and a text in the header."""
    # part by part: the writer of the library needs each array in one piece, which doubles the memory of a run
    header: dict[str, Any] = {"__metadata__": {NOTE: note}} if note else {}
    offset = 0
    order = sorted(stacks, key=lambda name: (-stacks[name].parts[0].itemsize, name))
    for name in order:
        end = offset + sum(part.nbytes for part in stacks[name].parts)
        code = _DTYPE_CODES[stacks[name].parts[0].dtype.name]
        header[name] = {"dtype": code, "shape": stacks[name].shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    file.write(struct.pack("<Q", len(text)) + text)
    for name in order:
        for part in stacks[name].parts:
            file.write(np.ascontiguousarray(part, part.dtype.newbyteorder("<")).tobytes())


def arrays_to_bytes(arrays: Mapping[str, Array], note: str) -> bytes:
    """Return the bytes of a `.safetensors` file with these arrays and a text in its header."""
    file = io.BytesIO()
    _write_safetensors(file, {name: ArrayStack((array,)) for name, array in arrays.items()}, note)
    return file.getvalue()


def arrays_from_bytes(data: bytes) -> tuple[dict[str, Array], str]:
    """Return what `arrays_to_bytes` has got; raise UsageError for other bytes."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        arrays = load(data)
        (length,) = struct.unpack("<Q", data[:8])
        return arrays, str(json.loads(data[8 : 8 + length])["__metadata__"][NOTE])
    except (SafetensorError, *_READ_ERRORS) as error:
        raise UsageError(f"these are not the bytes of arrays: {error}") from error


def load_arrays(
    path: Path, pick: Callable[[list[str]], Iterable[str]] = list, fits: Fits = any_size
) -> dict[str, Array]:
    """Return arrays of a `.safetensors`, `.npz` or `.npy` file; raise UsageError for a damaged or pickled file.

    pick  receives the names of all arrays and returns those to read; the array of a `.npy` file is named after the file
    fits  receives the bytes that these need in memory before they are read, and raises an error if they are too many
    """
    load = _load_safetensors if path.suffix.lower() == ".safetensors" else _load_numpy
    try:
        return load(path, pick, fits)
    except UsageError:
        raise
    except _READ_ERRORS as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise UsageError(f"cannot read {path}: {reason}; expected plain numbers, no pickles") from error


def _load_numpy(path: Path, pick: Callable[[list[str]], Iterable[str]], fits: Fits) -> dict[str, Array]:
    if is_zip(path):
        with zipfile.ZipFile(path) as archive:
            names = list(pick(npz_names(archive)))
            check_needed((npz_header(archive, name) for name in names), fits)
            return {name: _member(archive, name) for name in names}
    with path.open("rb") as file:
        names = list(pick([path.stem]))
        check_needed([npy_header(file)], fits)
        file.seek(0)
        return dict.fromkeys(names, read_npy(file))


def _member(archive: zipfile.ZipFile, name: str) -> Array:
    with archive.open(f"{name}.npy") as member:
        return read_npy(member)  # type: ignore[arg-type]


def _load_safetensors(path: Path, pick: Callable[[list[str]], Iterable[str]], fits: Fits) -> dict[str, Array]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            names = list(pick(list(file.keys())))
            check_needed((safetensors_header(file.get_slice(name)) for name in names), fits)
            return {name: file.get_tensor(name) for name in names}
    except SafetensorError as error:
        raise UsageError(f"cannot read {path}: {error}; expected a complete .safetensors file") from error
    except (TypeError, AttributeError, KeyError) as error:  # NumPy has no bfloat16 and no 8-bit floats
        raise UsageError(f"{path} contains a type that NumPy lacks ({error}): save it as float32") from error
