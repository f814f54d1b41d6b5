"""YAML files as plain lists, keys and texts with the position of each in the file, and Pydantic models for them.

Every value is read as text; the model of the file converts it. So head `3.10` differs from `3.1`, and the word `no`
stays a word. Tags, anchors and aliases, with which a file could create objects or grow without limit, are refused.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

import pydantic
import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ValidationError, WithJsonSchema

from attncli.errors import AttnError, UsageError, did_you_mean
from attncli.inputs.text_files import STDIN, check_exists, check_text, display_name, read_file_text, type_name

MAX_BYTES = 256_000
MAX_LEVELS = 20
_NULL = ("", "~", "null")
_VARIABLE = re.compile(r"([A-Za-z_]\w*)(?::-(.*))?", re.DOTALL)

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
    base       path of `values` in the file; paths given to methods start there, `positions` do not
    """

    name: str
    values: Any
    positions: Mapping[KeyPath, FilePosition]
    folder: Path = Path()
    base: KeyPath = ()

    @property
    def position(self) -> FilePosition:
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


@dataclass
class _Builder:
    """Builds values from the events of a YAML parser and records their positions."""

    name: str
    environment: Mapping[str, str]
    positions: dict[KeyPath, FilePosition] = field(default_factory=dict)

    def document(self, events: Iterator[yaml.Event]) -> object:
        next(events)
        if isinstance(next(events), yaml.StreamEndEvent):
            raise UsageError(f"{self.name} is empty: expected keys and values")
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
        if isinstance(event, yaml.SequenceStartEvent):
            values: list[object] = []
            while not isinstance(event := next(events), yaml.SequenceEndEvent):
                values.append(self._value(event, events, (*path, len(values))))
            return values
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(events, path)
        assert isinstance(event, yaml.ScalarEvent)
        if event.style is None and event.value in _NULL:
            return None
        text = "".join(
            self._variable(event, part) if is_variable else part for part, is_variable in split_variables(event.value)
        )
        return check_text(f"{self.name}, {_position(event)}", text)

    def _variable(self, event: yaml.Event, content: str) -> str:
        match = _VARIABLE.fullmatch(content)
        if match is None:
            wrong = f"${{{content}}}"
            raise self._error(event, f"expected the name of a variable in {wrong}: write $${{ for a plain ${{")
        name, default = match.groups()
        value = self.environment.get(name, default)
        if value is None:
            advice = f"set it, or give a default as ${{{name}:-…}}"
            raise self._error(event, f"the environment has no variable {name}: {advice}")
        return str(value)

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
        return UsageError(f"{self.name}, {_position(event)}: {message}")


def split_variables(text: str) -> Iterator[tuple[str, bool]]:
    """Yield the parts of a text, and for each whether it is the content of a variable; in time linear in its length.

    >>> list(split_variables("a ${NAME:-b} $${c} ${d"))
    [('a ', False), ('NAME:-b', True), (' ', False), ('${c}', False), (' ${d', False)]
    """
    start = 0
    while (opening := text.find("${", start)) >= 0 and (closing := text.find("}", opening)) >= 0:
        is_escaped = opening > start and text[opening - 1] == "$"
        yield text[start : opening - is_escaped], False
        yield (text[opening : closing + 1], False) if is_escaped else (text[opening + 2 : closing], True)
        start = closing + 1
    yield text[start:], False


def _position(event: yaml.Event) -> FilePosition:
    assert event.start_mark is not None  # every event of a parser has a mark
    return FilePosition(event.start_mark.line + 1, event.start_mark.column + 1)


class Section(BaseModel):
    """A mapping with known keys; an unknown key is an error that lists close names.

    former_keys  earlier names of keys, which are accepted as before
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, populate_by_name=False)
    former_keys: ClassVar[Mapping[str, str]] = {}

    @pydantic.model_validator(mode="before")
    @classmethod
    def _check_keys(cls, values: object) -> object:
        if isinstance(values, Mapping):
            known = [field.alias or name for name, field in cls.model_fields.items()]
            renamed = {former: key for former, key in cls.former_keys.items() if key not in values}
            values = {renamed.get(str(key), str(key)): value for key, value in values.items()}
            for key in values:
                if key not in known:
                    raise _UnknownKeyError(key, known)
        return values


class _UnknownKeyError(UsageError):
    def __init__(self, key: str, known: Sequence[str]) -> None:
        super().__init__(f"unknown key '{key}': {did_you_mean(key, known)}")
        self.key = key


def _existing_path(value: str, info: pydantic.ValidationInfo) -> str:
    assert info.context is not None  # set by `validate`
    path = value if value == STDIN else str(info.context["folder"] / value)
    check_exists(path)
    return path


def _join(value: object) -> object:
    return ",".join(value) if isinstance(value, list) and all(isinstance(item, str) for item in value) else value


_SCALAR: dict[str, Any] = {"type": ["string", "number", "boolean"]}
_SCALARS = WithJsonSchema({"anyOf": [_SCALAR, {"type": "array", "items": _SCALAR}]})
JoinedText = Annotated[str, BeforeValidator(_join), _SCALARS]
"""A text; a list of texts is joined by commas: `[0, 2]` is `0,2`."""
FilePath = Annotated[str, AfterValidator(_existing_path), WithJsonSchema({"type": "string"})]
"""The path of an existing file, relative to the folder of the document; `-` is stdin."""
TextList = Annotated[list[str], BeforeValidator(lambda value: value if isinstance(value, list) else [value]), _SCALARS]
"""A text or a list of texts."""

Model = TypeVar("Model", bound=BaseModel)


def validate(document: Document, model: type[Model]) -> Model:
    """Return the values of a document as `model`; raise UsageError with line and column for the first error."""
    try:
        return model.model_validate(document.values, context={"folder": document.folder})
    except ValidationError as error:
        raise _explain(document, error.errors()[0]) from None


def _explain(document: Document, details: Mapping[str, Any]) -> UsageError:
    path: KeyPath = tuple(part for part in details["loc"] if not str(part).startswith("function-"))
    cause = details.get("ctx", {}).get("error")
    if isinstance(cause, _UnknownKeyError):
        return document.error((*path, cause.key), str(cause), at_key=True)
    if isinstance(cause, AttnError):
        return document.error(path, str(cause))
    if details["type"] == "missing":
        return document.error(path[:-1], f"the key '{path[-1]}' is missing")
    name = f"expected '{path[-1]}' to be" if path and isinstance(path[-1], str) else "expected"
    value = details["input"]
    got = f"'{value}'" if isinstance(value, str) else type_name(value)
    return document.error(path, f"{name} {_expectation(details)}, got {got}")


_EXPECTED = {
    **dict.fromkeys(("int_parsing", "int_type", "int_from_float"), "a whole number"),
    **dict.fromkeys(("float_parsing", "float_type"), "a number"),
    **dict.fromkeys(("bool_parsing", "bool_type"), "true or false"),
    **dict.fromkeys(("model_type", "model_attributes_type", "dict_type"), "keys and values"),
    "finite_number": "a finite number",
    "string_type": "a text",
    "list_type": "a list",
}


def _expectation(details: Mapping[str, Any]) -> str:
    context = details.get("ctx", {})
    if details["type"] == "literal_error":
        return f"one of {str(context['expected']).replace(chr(39), '')}"
    signs = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below", "min_length": "at least"}
    limits = [f"{signs[name]} {limit}" for name, limit in context.items() if name in signs]
    if limits:
        return " and ".join(limits) + (" long" if "min_length" in context else "")
    return _EXPECTED.get(details["type"]) or str(details["msg"]).lower()
