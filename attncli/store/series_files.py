"""What a run on several checkpoints keeps of each: its main table with all digits, so that it is not run again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from attncli.data import Array
from attncli.store.files import atomic_file, make_folder, remove_litter
from attncli.store.folder import OutputFolder, read_manifest, unchanged
from attncli.store.tables import TableColumns, plain_column
from attncli.store.text import json_line, parse_object, utf8

CHECKPOINTS = ".checkpoints"
"""Folder of the tables that the output folder of a series keeps."""


@dataclass(frozen=True)
class SeriesFiles:
    """A file for each checkpoint of a series: a line that describes its run, then the parts of its main table."""

    folder: OutputFolder

    def write(self, name: str, header: Mapping[str, Any], parts: Iterable[TableColumns]) -> None:
        """Write what is kept of a checkpoint, completely or not at all."""
        path = self._path(name)
        make_folder(path.parent)
        remove_litter(path.parent)
        with atomic_file(path) as temporary, temporary.open("wb") as file:
            file.write(utf8(json_line(header)))
            for part in parts:
                columns = {key: [column.dtype.kind, plain_column(column)] for key, column in part.items()}
                file.write(utf8(json_line(columns)))

    def header(self, name: str) -> dict[str, Any] | None:
        """Return the description of the run on a checkpoint; None if there is none, or it cannot be read."""
        try:
            with self._path(name).open(encoding="utf-8") as file:
                return parse_object(file.readline())
        except (OSError, ValueError):
            return None

    def parts(self, name: str) -> Iterator[dict[str, Array]]:
        """Yield the parts of the main table of a checkpoint."""
        with self._path(name).open(encoding="utf-8") as file:
            file.readline()
            for line in file:
                yield {key: _column(*column) for key, column in json.loads(line).items()}

    def manifest(self, name: str, digest: str) -> dict[str, Any] | None:
        """Return the manifest of the run on a checkpoint; None unless it is complete and its files are unchanged.

        digest  that of the run
        """
        path = self.folder.path / name
        manifest = read_manifest(path)
        if manifest is None or not manifest.get("complete") or manifest.get("digest") != digest:
            return None
        files = manifest.get("files")
        return manifest if isinstance(files, list) and len(unchanged(path, files)) == len(files) else None

    def _path(self, name: str) -> Path:
        return self.folder.path / CHECKPOINTS / f"{hashlib.sha256(utf8(name)).hexdigest()[:16]}.jsonl"


def _column(kind: str, values: list[Any]) -> Array:
    """Return a column as it was before `plain_column`."""
    if kind == "f":
        return np.array(values, dtype=float)  # None becomes NaN
    if kind in "iub":
        return np.array(values, dtype=bool if kind == "b" else int)
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column
