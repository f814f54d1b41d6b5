"""Shapes and types of the arrays in a file, read without the arrays: a small file may hold huge ones."""

import math
import os
import tokenize
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

Fits = Callable[[int], None]
"""A function that receives the bytes that arrays take in memory, and raises UsageError if they are too many."""
_ZIP_MAGIC = b"PK"
_FLOAT32 = 4


@dataclass(frozen=True)
class ArrayHeader:
    """The shape of an array and the number of bytes of one entry."""

    shape: tuple[int, ...]
    itemsize: int

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.itemsize

    @property
    def needed(self) -> int:
        """The bytes in memory while maps are read: weights of other types than float32 are converted."""
        converted = self.itemsize not in (1, _FLOAT32)
        return self.nbytes + (math.prod(self.shape) * _FLOAT32 if converted else 0)


def any_size(needed: int) -> None:
    """Accept arrays of any size."""


def check_needed(headers: Iterable[ArrayHeader], fits: Fits) -> None:
    """Call `fits` with the bytes of arrays with these headers."""
    fits(sum(header.needed for header in headers))


def is_zip(path: Path) -> bool:
    """Return whether the file is a zip archive, as `.npz` files are."""
    with path.open("rb") as file:
        return file.read(len(_ZIP_MAGIC)) == _ZIP_MAGIC


def npz_names(archive: zipfile.ZipFile) -> list[str]:
    """Return the names of the arrays in an open `.npz` file; members that are no arrays are left out."""
    return [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]


def npz_header(archive: zipfile.ZipFile, name: str) -> ArrayHeader:
    """Return the header of an array in an open `.npz` file."""
    info = archive.getinfo(f"{name}.npy")
    with archive.open(info) as member:
        return npy_header(member, info.file_size)


def npy_header(file: Any, size: int | None = None) -> ArrayHeader:
    """Return the header at the start of an open `.npy` file of `size` bytes.

    Raise ValueError if it describes no plain array, or more data than the file has.
    """
    size = os.fstat(file.fileno()).st_size if size is None else size
    version = np.lib.format.read_magic(file)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"version {version} of the npy format is for tables, not for plain numbers")
    try:
        shape, _, dtype = readers[version](file)
    except (SyntaxError, tokenize.TokenError, RecursionError, MemoryError, TypeError) as error:
        raise ValueError("its header does not describe an array") from error
    if any(type(length) is not int or length < 0 for length in shape):
        raise ValueError(f"its shape {shape} is not made of whole numbers")
    if dtype.hasobject:
        raise ValueError("Object arrays cannot be loaded safely")
    header = ArrayHeader(shape, dtype.itemsize)
    if header.nbytes > size - file.tell():
        raise ValueError(f"its header says {header.nbytes} bytes of numbers, it has {size - file.tell()}")
    return header


def safetensors_header(part: Any) -> ArrayHeader:
    """Return the header of a slice of an open `.safetensors` file."""
    bits = "".join(character for character in part.get_dtype().partition("_")[0] if character.isdigit())
    return ArrayHeader(tuple(part.get_shape()), max(1, int(bits or 8) // 8))


def read_npy(file: BinaryIO) -> np.ndarray[Any, Any]:
    """Return the array of an open `.npy` file, without pickles."""
    array: np.ndarray[Any, Any] = np.lib.format.read_array(file, allow_pickle=False)
    return array
