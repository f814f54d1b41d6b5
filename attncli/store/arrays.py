"""Arrays by name in one file: safetensors or npz, never pickle; equal arrays are kept once."""

from __future__ import annotations

import hashlib
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
from attncli.errors import UsageError, did_you_mean
from attncli.store.files import atomic_file

SUFFIXES = {"safetensors": ".safetensors", "npz": ".npz"}
_TYPES = {"float64": "F64", "int64": "I64", "float32": "F32", "int32": "I32", "bool": "BOOL"}
_DAMAGE = (
    *(OSError, ValueError, KeyError, EOFError, MemoryError),
    *(zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError),
)


@dataclass(frozen=True)
class ArrayStack:
    """One array in one or more parts; with `stacked` each part is one step along a first axis of its own."""

    parts: tuple[Array, ...]
    stacked: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        shape = self.parts[0].shape
        return (len(self.parts), *shape) if self.stacked else shape

    @property
    def whole(self) -> Array:
        return np.stack(self.parts) if self.stacked else self.parts[0]


class ArrayPool:
    """Collects arrays under names that are free; `share` gives an equal array its earlier name."""

    def __init__(self) -> None:
        self.piles: dict[str, ArrayStack] = {}
        self._seen: dict[object, str] = {}
        self._alive: list[Array] = []  # or else another array could come to lie at the same place

    def add(self, name: str, parts: Sequence[Array], stacked: bool = False) -> str:
        """Keep an array; returns its name, with a number behind it where the name was taken."""
        name = name.replace("\0", "")  # where a name in a zip file would end
        free, number = name, 1
        while free in self.piles:
            free, number = f"{name}~{number}", number + 1
        self.piles[free] = ArrayStack(tuple(parts), stacked)
        return free

    def share(self, name: str, array: Array) -> str:
        """Keep an array unless the same memory or the same content is kept already."""
        place = (array.__array_interface__["data"][0], array.shape, array.strides, array.dtype.str)
        if place not in self._seen:
            content = hashlib.sha256(np.ascontiguousarray(array).tobytes()).digest()
            same = (content, array.shape, array.dtype.str)
            if same not in self._seen:
                self._seen[same] = self.add(name, [array])
            self._seen[place] = self._seen[same]
            self._alive.append(array)
        return self._seen[place]


def save_arrays(path: Path, piles: Mapping[str, ArrayStack]) -> None:
    """Write arrays to a `.safetensors` or `.npz` file; equal arrays give equal bytes."""
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        if path.suffix == ".npz":
            # without `allow_pickle`, which NumPy before 2.1 would keep as one more array; ours are plain numbers
            whole: dict[str, Any] = {name: pile.whole for name, pile in piles.items()}
            np.savez(file, **whole)
        else:
            _write_safetensors(file, piles)


def _write_safetensors(file: BinaryIO, piles: Mapping[str, ArrayStack]) -> None:
    # part by part: the library's own writer wants each array in one piece, which doubles the memory of a run
    header, at = {}, 0
    order = sorted(piles, key=lambda name: (-piles[name].parts[0].itemsize, name))
    for name in order:
        end = at + sum(part.nbytes for part in piles[name].parts)
        code = _TYPES[piles[name].parts[0].dtype.name]
        header[name] = {"dtype": code, "shape": piles[name].shape, "data_offsets": [at, end]}
        at = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    file.write(struct.pack("<Q", len(text)) + text)
    for name in order:
        for part in piles[name].parts:
            file.write(np.ascontiguousarray(part, part.dtype.newbyteorder("<")).tobytes())


def load_arrays(path: Path, pick: Callable[[list[str]], Iterable[str]] = list) -> dict[str, Array]:
    """Read arrays of a `.safetensors`, `.npz` or `.npy` file; a damaged or pickled one is a `UsageError`.

    pick  gets the names of all arrays and gives those to read; a `.npy` file has one, named after the file
    """
    load = _load_safetensors if path.suffix.lower() == ".safetensors" else _load_numpy
    try:
        return load(path, pick)
    except UsageError:
        raise
    except _DAMAGE as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UsageError(f"cannot read {path}: {reason}; expected plain numbers, no pickles") from error


def _load_numpy(path: Path, pick: Callable[[list[str]], Iterable[str]]) -> dict[str, Array]:
    with path.open("rb") as file:  # a name would leave the file open where NumPy finds it damaged
        loaded = np.load(file, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return dict.fromkeys(pick([path.stem]), loaded)
        with loaded as arrays:
            return {name: arrays[name] for name in pick(arrays.files)}


def _load_safetensors(path: Path, pick: Callable[[list[str]], Iterable[str]]) -> dict[str, Array]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            return {name: file.get_tensor(name) for name in pick(list(file.keys()))}
    except SafetensorError as error:
        raise UsageError(f"cannot read {path}: {error}; expected a whole .safetensors file") from error
    except (TypeError, AttributeError, KeyError) as error:  # NumPy has no bfloat16 and no 8-bit floats
        raise UsageError(f"{path} holds a type that NumPy lacks ({error}): save it as float32") from error


def check_format(format: str) -> str:
    """The file ending of a format of arrays; an unknown one is a `UsageError`."""
    if format not in SUFFIXES:
        raise UsageError(f"unknown format '{format}' of saved maps: {did_you_mean(format, SUFFIXES)}")
    return SUFFIXES[format]
