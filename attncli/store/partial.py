"""Results that are kept while a long run computes them, so that the same command continues after an interruption."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from attncli.store.files import output_errors
from attncli.store.folder import PARTIAL, OutputFolder
from attncli.store.text import json_line


class PartialResults:
    """Keeps nothing: the results of a run that writes no files."""

    def done(self) -> Iterator[Mapping[str, Any]]:
        """Yield the entries that earlier, interrupted runs of the same command have kept, in their order."""
        yield from ()

    def keep(self, entry: Mapping[str, Any]) -> None:
        """Keep an entry of plain values."""


class PartialFile(PartialResults):
    """Keeps results in a file of the output folder, one a line, until the run is complete.

    The first line names the run: entries of another run are dropped, and so is a line that was not written completely.
    """

    def __init__(self, folder: OutputFolder) -> None:
        self._folder = folder
        self._path = folder.path / PARTIAL
        self._begun = False

    def done(self) -> Iterator[Mapping[str, Any]]:
        """Yield the entries that earlier, interrupted runs of the same command have kept, in their order."""
        entries = self._entries()
        if next(entries, None) == self._header:
            yield from entries

    def keep(self, entry: Mapping[str, Any]) -> None:
        """Write an entry of plain values to the disk; raise OutputError if that is not possible."""
        with output_errors(self._path):
            if not self._begun:
                self._begin()
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json_line(entry))

    @property
    def _header(self) -> dict[str, Any]:
        return {"command": self._folder.command, "digest": self._folder.digest}

    def _begin(self) -> None:
        """Claim the folder, and write the header and the complete entries of earlier runs."""
        former = list(self.done())
        self._folder.claim()
        lines = [json_line(entry) for entry in (self._header, *former)]
        self._path.write_text("".join(lines), encoding="utf-8")
        self._begun = True

    def _entries(self) -> Iterator[dict[str, Any]]:
        """Yield the complete lines of the file."""
        if not self._path.is_file():
            return
        for line in self._path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                return
            if not isinstance(entry, dict):
                return
            yield entry
