"""Rationales of people: the spans of each text that they named as the reason for its label."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from attncli.data import Text, TextSpan
from attncli.data.described import counted
from attncli.errors import UsageError, did_you_mean
from attncli.inputs.partitions import parse_span
from attncli.inputs.text_files import check_exists, display_name, read_lines, type_name

Rationale = tuple[TextSpan, ...]
RationaleSpan = tuple[int, int] | Sequence[int] | str | Mapping[str, Sequence[int]]
"""A span as Python passes it: start and end in characters, a passage, or `{"tokens": (start, end)}`."""
KEY = "rationale"
_SHOWN = 40
_EXPECTED = f"a list of spans, each [start, end] in characters, or an object with such a list as '{KEY}'"


def read_rationales(path: str | Path) -> tuple[Rationale, ...]:
    """Return the spans of each text from a JSON Lines file, a text a line; blank lines are left out.

    A line is a list of spans, or an object with the list as `rationale`. A span is `[start, end]` in characters, a
    passage of the text, or `{"tokens": [start, end]}`. Raise UsageError for anything else.
    """
    found = tuple(_spans(where, entry) for where, entry in _entries(path))
    if not found:
        raise UsageError(f"{display_name(path)} has no rationale: expected {_EXPECTED} in each line")
    return found


def read_texts(path: str | Path) -> tuple[str | None, ...]:
    """Return the `text` of each line of a file of rationales, None where a line has none."""
    texts = (entry.get("text") if isinstance(entry, dict) else None for _, entry in _entries(path))
    return tuple(text if isinstance(text, str) else None for text in texts)


def _entries(path: str | Path) -> Iterator[tuple[str, object]]:
    """Yield for each line that is not blank how errors call it, and its JSON; raise UsageError if it has none."""
    check_exists(path)
    for line, number in read_lines(path):
        if line.strip():
            where = f"{display_name(path)}, line {number}"
            try:
                yield where, json.loads(line)
            except (json.JSONDecodeError, RecursionError) as error:
                raise UsageError(f"{where} is not JSON: {getattr(error, 'msg', error)}") from error


def as_rationales(given: object, where: str = "rationales") -> tuple[Rationale, ...]:
    """Return the spans of each text from a list of lists; raise UsageError for anything else."""
    if not isinstance(given, list | tuple) or not given:
        raise UsageError(f"{where}: expected a list with the spans of each text, got {type_name(given)}")
    return tuple(_spans(f"{where}, text {number}", entry) for number, entry in enumerate(given))


def _spans(where: str, entry: object) -> Rationale:
    if isinstance(entry, dict):
        if KEY not in entry:
            raise UsageError(f"{where} has no '{KEY}': {did_you_mean(KEY, list(map(str, entry)))}")
        entry = entry[KEY]
    if not isinstance(entry, list | tuple):
        raise UsageError(f"{where}: expected {_EXPECTED}, got {type_name(entry)}")
    return tuple(parse_span(f"{where}, span {number}", span) for number, span in enumerate(entry, start=1))


def check_rationales(rationales: Sequence[Rationale], named: Sequence[str | None], given: Sequence[Text]) -> None:
    """Raise UsageError unless there is a rationale for each text, and of this text.

    named  the texts of the rationales, as `read_texts` returns them
    given  the texts that are read
    """
    texts = len(given)
    if len(rationales) != texts:
        raise UsageError(
            f"expected a rationale for each of {counted(texts, 'text')}, got {counted(len(rationales), 'rationale')}: "
            "give them in the order of the texts; an empty list for a text without"
        )
    for number, (of_rationale, text) in enumerate(zip(named, given, strict=False)):
        if of_rationale is not None and text.text and of_rationale.split() != text.text.split():
            raise UsageError(
                f"the rationale of text {number} is that of another text (expected '{text.text[:_SHOWN]}', got "
                f"'{of_rationale[:_SHOWN]}'): give rationales in the order of the texts"
            )
