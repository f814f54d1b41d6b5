"""Shards on disk: what was computed of each part of a corpus, kept until the whole run is complete."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from attncli.data import Array
from attncli.data.part_states import PartState
from attncli.errors import UsageError
from attncli.store.arrays import arrays_from_bytes, arrays_to_bytes
from attncli.store.files import make_folder, remove_litter, write_atomic
from attncli.store.folder import SHARDS, OutputFolder
from attncli.store.text import json_line, parse_object

_ARRAY = "$array"
"""Key of the entry that stands for an array in the text of a shard."""
_NAME = re.compile(r"\d{6,}-[0-9a-f]{12}\.safetensors")


@dataclass(frozen=True, eq=False)
class ShardContent:
    """What was computed of one shard: values that describe it, and the state of the analysis."""

    header: Mapping[str, Any]
    state: PartState


def shard_to_bytes(shard: ShardContent) -> bytes:
    """Return a shard as the bytes of a `.safetensors` file, with its plain values and a checksum in the header."""
    arrays: dict[str, Array] = {}
    text = json_line({"header": shard.header, "state": _without_arrays(shard.state, arrays)})
    return arrays_to_bytes(arrays, f"{_checksum(text, arrays)} {text}")


def shard_from_bytes(data: bytes) -> ShardContent:
    """Return the shard that these bytes are; raise UsageError if they are damaged."""
    arrays, note = arrays_from_bytes(data)
    checksum, _, text = note.partition(" ")
    document = parse_object(text)
    if document is None or checksum != _checksum(text, arrays):
        raise UsageError("this shard is damaged: its checksum is another")
    return ShardContent(document["header"], _with_arrays(document["state"], arrays))


def _without_arrays(value: Any, arrays: dict[str, Array]) -> Any:
    """Return a value in which the name of an array takes its place; add the array to `arrays`."""
    if isinstance(value, np.ndarray):
        name = f"{len(arrays):06d}"
        arrays[name] = value
        return {_ARRAY: name}
    if isinstance(value, Mapping):
        return {key: _without_arrays(entry, arrays) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_without_arrays(entry, arrays) for entry in value]
    return value


def _with_arrays(value: Any, arrays: Mapping[str, Array]) -> Any:
    """Return a value with its arrays in their places."""
    if isinstance(value, dict):
        if value.keys() == {_ARRAY}:
            return arrays[value[_ARRAY]]
        return {key: _with_arrays(entry, arrays) for key, entry in value.items()}
    return [_with_arrays(entry, arrays) for entry in value] if isinstance(value, list) else value


def _checksum(text: str, arrays: Mapping[str, Array]) -> str:
    sha256 = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = arrays[name]
        sha256.update(f"{name} {array.dtype} {array.shape} ".encode())
        sha256.update(np.ascontiguousarray(array).tobytes())
    return sha256.hexdigest()


class ShardFiles:
    """The shards of a run in its output folder, a file for each.

    keys  twelve hexadecimal digits for each shard: a hash of its texts and of all else that its numbers depend on
    """

    def __init__(self, folder: OutputFolder, keys: Sequence[str]) -> None:
        self._folder, self._keys = folder, keys
        self.path = folder.path / SHARDS

    def open(self) -> None:
        """Claim the output folder for this run; raise OutputError if that is not possible."""
        self._folder.claim()
        make_folder(self.path)
        remove_litter(self.path)

    def path_of(self, number: int) -> Path:
        """Return the path of the file of a shard."""
        return self.path / f"{number:06d}-{self._keys[number]}.safetensors"

    def write(self, number: int, data: bytes) -> None:
        """Write the bytes of a shard, completely or not at all."""
        write_atomic(self.path_of(number), data)

    def read(self, number: int) -> ShardContent | None:
        """Return a shard, None if it is missing; raise UsageError if its file is damaged."""
        try:
            data = self.path_of(number).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UsageError(f"cannot read {self.path_of(number)}: {error.strerror or error}") from error
        return shard_from_bytes(data)

    def remove(self) -> None:
        """Delete the files of all shards."""
        for path in self._paths():
            path.unlink(missing_ok=True)

    def remove_others(self) -> int:
        """Delete the shards of other runs, which cannot be merged with those of this one; return their number."""
        own = {self.path_of(number) for number in range(len(self._keys))}
        others = [path for path in self._paths() if path not in own]
        for path in others:
            path.unlink(missing_ok=True)
        return len(others)

    def _paths(self) -> list[Path]:
        paths = self.path.iterdir() if self.path.is_dir() else ()
        return sorted(path for path in paths if _NAME.fullmatch(path.name))
