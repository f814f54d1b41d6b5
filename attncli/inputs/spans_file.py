"""Named segments of a text, read from a JSON file of spans."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeGuard

from attncli.data import Spans, TextSpan
from attncli.errors import UsageError
from attncli.inputs.partitions import GENERATED, REST, SPECIAL
from attncli.inputs.text_files import check_text, display_name, read_json, type_name

RESERVED_NAMES = (SPECIAL, REST, GENERATED)
_SPAN = '"a passage", [start, end] in characters or {"tokens": [start, end]}'
_OBJECT = f"an object of segments, each a list of {_SPAN}"


def read_spans(path: str | Path) -> tuple[Spans, ...]:
    """Return the segments of each text from a JSON file: an object of name and list of spans, or a list of objects.

    A span is a passage of the text, `[start, end]` in characters or `{"tokens": [start, end]}`; positions count from 0
    and exclude the end. Raises `UsageError` for any other content.
    """
    return as_spans(read_json(path), display_name(path))


def as_spans(document: object, where: str = "spans") -> tuple[Spans, ...]:
    """Return the segments of each text from the content of a file of spans; `where` names it in errors."""
    entries = document if _is_sequence(document) else [document]
    if not entries:
        raise UsageError(f"{where}: expected {_OBJECT}, got an empty list")
    return tuple(
        _text_spans(f"{where}, text {n}" if entries is document else where, entry) for n, entry in enumerate(entries)
    )


def _is_sequence(value: object) -> TypeGuard[Sequence[object]]:
    return isinstance(value, list | tuple)


def _text_spans(where: str, entry: object) -> Spans:
    if not isinstance(entry, dict) or not entry:
        raise UsageError(f"{where}: expected {_OBJECT}, got {type_name(entry)}")
    return {name: _segment_spans(where, name, spans) for name, spans in entry.items()}


def _segment_spans(where: str, name: str, spans: object) -> tuple[TextSpan, ...]:
    check_text(where, name)
    if not name.strip() or name in RESERVED_NAMES:
        raise UsageError(
            f"{where}: {name!r} cannot be the name of a segment ({', '.join(RESERVED_NAMES)} are reserved): choose "
            "another"
        )
    segment = f"{where}, segment {name!r}"
    if not _is_sequence(spans) or not spans:
        raise UsageError(f"{segment}: expected a list of {_SPAN}, got {type_name(spans)}")
    return tuple(_parse_span(f"{segment}, span {number}", span) for number, span in enumerate(spans, start=1))


def _parse_span(where: str, span: object) -> TextSpan:
    if isinstance(span, str) and span.strip():
        return TextSpan("passage", passage=check_text(where, span))
    if _is_sequence(span):
        return TextSpan("characters", *_parse_ends(where, span))
    if isinstance(span, dict) and list(span) == ["tokens"]:
        return TextSpan("tokens", *_parse_ends(where, span["tokens"]))
    raise UsageError(f"{where}: expected {_SPAN}, got {span!r:.60}")


def _parse_ends(where: str, ends: object) -> tuple[int, int]:
    numbers = [end for end in ends if type(end) is int] if _is_sequence(ends) and len(ends) == 2 else []
    if len(numbers) != 2 or not 0 <= numbers[0] < numbers[1]:
        raise UsageError(f"{where}: expected two whole numbers [start, end] with 0 <= start < end, got {ends!r:.60}")
    return numbers[0], numbers[1]
