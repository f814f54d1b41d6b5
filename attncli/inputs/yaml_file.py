"""YAML files as plain lists, keys and texts, with the position of each in the file.

Every value is read as text; the model of the file converts it. So head `3.10` differs from `3.1`, and the word `no`
stays a word. Tags, anchors and aliases, with which a file could create objects or grow without limit, are refused.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from attncli.errors import UsageError
from attncli.inputs.text_files import STDIN, check_exists, check_text, display_name, read_file_text

MAX_BYTES = 256_000
MAX_LEVELS = 20
_NULL = ("", "~", "null")
_VARIABLE = re.compile(r"\$(\$?)\{(?:([A-Za-z_]\w*)(?::-([^}]*))?|([^}]*))\}")

KeyPath = tuple[str | int, ...]
"""The keys and list indices that lead to a value."""
KEY = "\0key"
"""Last entry of the path of a key itself, instead of its value."""


@dataclass(frozen=True)
class FilePosition:
    """A line and a column, counted from 1."""

    line: int
    column: int

    def __str__(self) -> str:
        return f"line {self.line}, column {self.column}"


@dataclass(frozen=True)
class Document:
    """The content of a YAML file, or a part of it.

    values     dicts, lists, texts; None for a missing value
    positions  position of every value, by its path; of every key, by the path of its value followed by `KEY`
    folder     folder of the file; paths in the file are relative to it
    base       path of `values` in the file; arguments of methods are relative to it, `positions` are not
    """

    name: str
    values: Any
    positions: Mapping[KeyPath, FilePosition]
    folder: Path = Path()
    base: KeyPath = ()

    @property
    def position(self) -> FilePosition:
        """The position of `values`."""
        return self.positions.get(self.base, FilePosition(1, 1))

    def part(self, *path: str | int) -> Document:
        """Return the document of the value at `path`, with positions in the whole file."""
        values = self.values
        for key in path:
            values = values[key]
        return replace(self, values=values, base=(*self.base, *path))

    def error(self, path: KeyPath, message: str, *, at_key: bool = False) -> UsageError:
        """Return an error at `path` (at its key if `at_key`), or at the nearest enclosing value in the file."""
        path = (*self.base, *path)
        candidates = [(*path, KEY)] if at_key else []
        candidates += [path[:length] for length in range(len(path), -1, -1)]
        position = next((self.positions[key] for key in candidates if key in self.positions), FilePosition(1, 1))
        return UsageError(f"{self.name}, {position}: {message}")


def read_yaml(path: str | Path, environment: Mapping[str, str] | None = None) -> Document:
    """Return the content of a YAML file.

    `${NAME}` and `${NAME:-default}` in values are replaced by variables of the environment, `$${` by `${`. Raises
    `UsageError` with line and column for any other YAML, above 256 kB and above 20 levels.
    """
    check_exists(path)
    name, text = display_name(path), read_file_text(path)
    if len(text.encode()) > MAX_BYTES:
        raise UsageError(f"{name} is larger than {MAX_BYTES // 1000} kB, the limit for such a file: split it")
    builder = _Builder(name, os.environ if environment is None else environment)
    try:
        values = builder.document(yaml.parse(text, Loader=yaml.BaseLoader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "unknown position"
        raise UsageError(f"{name} is not YAML ({where}): {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise UsageError(f"{name} is not YAML: {' '.join(str(error).split())}") from error
    return Document(name, values, builder.positions, Path() if str(path) == STDIN else Path(path).parent)


class _Builder:
    """Builds values from the events of a YAML parser and records their positions."""

    def __init__(self, name: str, environment: Mapping[str, str]) -> None:
        self._name = name
        self._environment = environment
        self.positions: dict[KeyPath, FilePosition] = {}

    def document(self, events: Iterator[yaml.Event]) -> object:
        next(events)
        if isinstance(next(events), yaml.StreamEndEvent):
            raise UsageError(f"{self._name} is empty: expected keys and values")
        value = self._value(next(events), events, ())
        next(events)
        after = next(events)
        if not isinstance(after, yaml.StreamEndEvent):
            raise self._error(after, "expected one document, got a second: remove everything from --- on")
        return value

    def _value(self, event: yaml.Event, events: Iterator[yaml.Event], path: KeyPath) -> object:
        self.positions[path] = _position(event)
        if isinstance(event, yaml.AliasEvent):
            raise self._error(event, f"*{event.anchor} repeats another value: write it out")
        if anchor := getattr(event, "anchor", None):
            raise self._error(event, f"anchors such as &{anchor} are not supported: remove it")
        if tag := getattr(event, "tag", None):
            raise self._error(event, f"expected plain values, got the tag {tag}: remove it")
        if len(path) > MAX_LEVELS:
            raise self._error(event, f"expected at most {MAX_LEVELS} levels of lists and keys")
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event)
        return self._list(events, path) if isinstance(event, yaml.SequenceStartEvent) else self._mapping(events, path)

    def _scalar(self, event: yaml.ScalarEvent) -> str | None:
        if event.style is None and event.value in _NULL:
            return None
        text = _VARIABLE.sub(lambda match: self._variable(event, match), event.value)
        return check_text(f"{self._name}, {_position(event)}", text)

    def _variable(self, event: yaml.Event, match: re.Match[str]) -> str:
        escaped, name, default, invalid = match.groups()
        if escaped:
            return match[0][1:]
        if invalid is not None:
            raise self._error(event, f"expected the name of a variable in {match[0]}: write $${{ for a plain ${{")
        value = self._environment.get(name, default)
        if value is None:
            raise self._error(
                event, f"the environment has no variable {name}: set it, or give a default as ${{{name}:-…}}"
            )
        return str(value)

    def _list(self, events: Iterator[yaml.Event], path: KeyPath) -> list[object]:
        values: list[object] = []
        while not isinstance(event := next(events), yaml.SequenceEndEvent):
            values.append(self._value(event, events, (*path, len(values))))
        return values

    def _mapping(self, events: Iterator[yaml.Event], path: KeyPath) -> dict[str, object]:
        values: dict[str, object] = {}
        while not isinstance(event := next(events), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent) or event.anchor is not None or event.tag is not None:
                raise self._error(event, "expected the name of a key")
            if event.value in values:
                raise self._error(event, f"the key '{event.value}' occurs twice: remove one")
            self.positions[*path, event.value, KEY] = _position(event)
            values[event.value] = self._value(next(events), events, (*path, event.value))
        return values

    def _error(self, event: yaml.Event, message: str) -> UsageError:
        return UsageError(f"{self._name}, {_position(event)}: {message}")


def _position(event: yaml.Event) -> FilePosition:
    assert event.start_mark is not None  # every event of a parser has a mark
    return FilePosition(event.start_mark.line + 1, event.start_mark.column + 1)
