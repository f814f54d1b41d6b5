"""YAML that people write: lists, keys and texts alone, each with its place in the file.

Every value is read as the text that stands there, and what expects it makes a number or a truth of it. So head `3.10`
stays another than `3.1`, and the word `no` stays a word. Tags, anchors and aliases, by which a file could build
objects or grow without end, are refused.
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
from attncli.inputs.text_files import STDIN, check_exists, check_text, decoded_whole, display_name

MOST_BYTES = 256_000
MOST_LEVELS = 20
_NOTHING = ("", "~", "null")
_VARIABLE = re.compile(r"\$(\$?)\{(?:([A-Za-z_]\w*)(?::-([^}]*))?|([^}]*))\}")

Path_ = tuple[str | int, ...]
"""The way to a value: keys, and positions in lists."""


@dataclass(frozen=True)
class FilePosition:
    """Line and column, counted from 1."""

    line: int
    column: int

    def __str__(self) -> str:
        return f"line {self.line}, column {self.column}"


@dataclass(frozen=True)
class Document:
    """What a file says.

    values  dicts, lists, texts, and None where nothing stands
    places  of every value by the way to it, and of every key by the way to its value with `KEY` behind
    folder  where it lies, from which the files that it names are found
    base    the way to `values` where they are a part of the file; other ways are from there
    """

    name: str
    values: Any
    places: Mapping[Path_, FilePosition]
    folder: Path = Path()
    base: Path_ = ()

    @property
    def place(self) -> FilePosition:
        """Where `values` stand."""
        return self.places.get(self.base, FilePosition(1, 1))

    def part(self, *way: str | int) -> Document:
        """What stands there, as a document with the places of the whole."""
        values = self.values
        for step in way:
            values = values[step]
        return replace(self, values=values, base=(*self.base, *way))

    def error(self, way: Path_, message: str, *, at_key: bool = False) -> UsageError:
        """The error that something is wrong at this place, or at the nearest around it that stands in the file."""
        way = (*self.base, *way)
        ways = [(*way, KEY)] if at_key else []
        ways += [way[:length] for length in range(len(way), -1, -1)]
        place = next((self.places[each] for each in ways if each in self.places), FilePosition(1, 1))
        return UsageError(f"{self.name}, {place}: {message}")


KEY = "\0key"


def read_yaml(path: str | Path, environment: Mapping[str, str] | None = None) -> Document:
    """Read a file; `${NAME}` and `${NAME:-else}` in values stand for variables of the environment, `$${` for `${`.

    What is no such YAML, too large (256 kB) or too deep (20 levels) is a `UsageError` with line and column.
    """
    check_exists(path)
    name, text = display_name(path), decoded_whole(path)
    if len(text.encode()) > MOST_BYTES:
        raise UsageError(f"{name} is larger than {MOST_BYTES // 1000} kB: such a file is written by hand, split it")
    builder = _Builder(name, os.environ if environment is None else environment)
    try:
        values = builder.document(yaml.parse(text, Loader=yaml.BaseLoader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "somewhere"
        raise UsageError(f"{name} is not YAML ({where}): {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise UsageError(f"{name} is not YAML: {' '.join(str(error).split())}") from error
    return Document(name, values, builder.places, Path() if str(path) == STDIN else Path(path).parent)


class _Builder:
    """Makes values of the events of a parser, and notes where each stands."""

    def __init__(self, name: str, environment: Mapping[str, str]) -> None:
        self._name = name
        self._environment = environment
        self.places: dict[Path_, FilePosition] = {}

    def document(self, events: Iterator[yaml.Event]) -> Any:
        next(events)
        if isinstance(next(events), yaml.StreamEndEvent):
            raise UsageError(f"{self._name} is empty: expected keys and values")
        value = self._value(next(events), events, ())
        next(events)
        after = next(events)
        if not isinstance(after, yaml.StreamEndEvent):
            raise self._error(after, "expected one document, got a second: leave out what follows ---")
        return value

    def _value(self, event: yaml.Event, events: Iterator[yaml.Event], way: Path_) -> Any:
        self.places[way] = _place(event)
        if isinstance(event, yaml.AliasEvent):
            raise self._error(event, f"*{event.anchor} repeats another value: write it out")
        if anchor := getattr(event, "anchor", None):
            raise self._error(event, f"&{anchor} is an anchor, of which nothing is made: leave it out")
        if tag := getattr(event, "tag", None):
            raise self._error(event, f"expected plain values, got the tag {tag}: leave it out")
        if len(way) > MOST_LEVELS:
            raise self._error(event, f"expected at most {MOST_LEVELS} levels of lists and keys")
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event)
        return self._list(events, way) if isinstance(event, yaml.SequenceStartEvent) else self._keys(events, way)

    def _scalar(self, event: yaml.ScalarEvent) -> str | None:
        plain = event.style is None
        if plain and event.value in _NOTHING:
            return None
        return check_text(
            f"{self._name}, {_place(event)}", _VARIABLE.sub(lambda match: self._variable(event, match), event.value)
        )

    def _variable(self, event: yaml.Event, match: re.Match[str]) -> str:
        escaped, name, otherwise, wrong = match.groups()
        if escaped:
            return match[0][1:]
        if wrong is not None:
            raise self._error(event, f"expected the name of a variable in {match[0]}: write $${{ for a plain ${{")
        value = self._environment.get(name)
        if value is None and otherwise is None:
            raise self._error(
                event, f"the environment has no variable {name}: set it, or give a default as ${{{name}:-…}}"
            )
        return otherwise if value is None else value

    def _list(self, events: Iterator[yaml.Event], way: Path_) -> list[Any]:
        found: list[Any] = []
        while not isinstance(event := next(events), yaml.SequenceEndEvent):
            found.append(self._value(event, events, (*way, len(found))))
        return found

    def _keys(self, events: Iterator[yaml.Event], way: Path_) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while not isinstance(event := next(events), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent) or event.anchor is not None or event.tag is not None:
                raise self._error(event, "expected the name of a key")
            if event.value in found:
                raise self._error(event, f"the key '{event.value}' stands there twice: leave one out")
            self.places[*way, event.value, KEY] = _place(event)
            found[event.value] = self._value(next(events), events, (*way, event.value))
        return found

    def _error(self, event: yaml.Event, message: str) -> UsageError:
        return UsageError(f"{self._name}, {_place(event)}: {message}")


def _place(event: yaml.Event) -> FilePosition:
    assert event.start_mark is not None  # only events that nobody read have none
    return FilePosition(event.start_mark.line + 1, event.start_mark.column + 1)
