"""Rationales of people: the spans of each text that they named as the reason for its label."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from attncli.data import TextSpan
from attncli.data.described import counted
from attncli.errors import UsageError, did_you_mean
from attncli.inputs.partitions import parse_span
from attncli.inputs.text_files import check_exists, display_name, read_lines, type_name

Rationale = tuple[TextSpan, ...]
RationaleSpan = tuple[int, int] | Sequence[int] | str | Mapping[str, Sequence[int]]
"""A span as Python passes it: start and end in characters, a passage, or `{"tokens": (start, end)}`."""
KEY = "rationale"
_EXPECTED = f"a list of spans, each [start, end] in characters, or an object with such a list as '{KEY}'"


def read_rationales(path: str | Path) -> tuple[Rationale, ...]:
    """Return the spans of each text from a JSON Lines file, a text a line; blank lines are left out.

    A line is a list of spans, or an object with the list as `rationale`. A span is `[start, end]` in characters, a
    passage of the text, or `{"tokens": [start, end]}`. Raise UsageError for anything else.
    """
    check_exists(path)
    name, found = display_name(path), []
    for line, number in read_lines(path):
        if not line.strip():
            continue
        where = f"{name}, line {number}"
        try:
            found.append(_spans(where, json.loads(line)))
        except (json.JSONDecodeError, RecursionError) as error:
            raise UsageError(f"{where} is not JSON: {getattr(error, 'msg', error)}") from error
    if not found:
        raise UsageError(f"{name} has no rationale: expected {_EXPECTED} in each line")
    return tuple(found)


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


def check_rationales(rationales: Sequence[Rationale], texts: int) -> None:
    """Raise UsageError unless there is a rationale for each text."""
    if len(rationales) != texts:
        raise UsageError(
            f"expected a rationale for each of {counted(texts, 'text')}, got {counted(len(rationales), 'rationale')}: "
            "give them in the order of the texts; an empty list for a text without"
        )
