"""Which stretches of a text are its segments, from a JSON file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attncli.data import Spans, TextSpan
from attncli.errors import UsageError
from attncli.inputs.text_files import check_text, decoded_json, display_name, type_name

LEFT_OVER = ("special", "rest", "generated")
_SPAN = '"a passage", [start, end] in characters or {"tokens": [start, end]}'
_OBJECT = f"an object of segments, each a list of {_SPAN}"


def read_spans(path: str | Path) -> tuple[Spans, ...]:
    """The segments of each text: JSON, an object of name and list of spans, or a list of such objects, one per text.

    A span is a passage as it stands in the text, `[start, end]` in characters or `{"tokens": [start, end]}`, counted
    from 0, the end not part of it. What is not of this form is a `UsageError`.
    """
    where, document = display_name(path), decoded_json(path)
    return as_spans(document, where)


def as_spans(document: Any, where: str = "spans") -> tuple[Spans, ...]:
    """The same of what such a file holds."""
    several = isinstance(document, list | tuple)
    entries = document if several else [document]
    if not entries:
        raise UsageError(f"{where}: expected {_OBJECT}, got an empty list")
    return tuple(_text(f"{where}, text {at}" if several else where, entry) for at, entry in enumerate(entries))


def _text(where: str, entry: Any) -> Spans:
    if not isinstance(entry, dict) or not entry:
        raise UsageError(f"{where}: expected {_OBJECT}, got {type_name(entry)}")
    return {name: _segment(where, name, spans) for name, spans in entry.items()}


def _segment(where: str, name: str, spans: Any) -> tuple[TextSpan, ...]:
    check_text(where, name)
    if not name.strip() or name in LEFT_OVER:
        raise UsageError(
            f"{where}: {name!r} cannot name a segment, {', '.join(LEFT_OVER)} are those of other tokens: choose another"
        )
    place = f"{where}, segment {name!r}"
    if not isinstance(spans, list | tuple) or not spans:
        raise UsageError(f"{place}: expected a list of {_SPAN}, got {type_name(spans)}")
    return tuple(_span(f"{place}, span {number}", span) for number, span in enumerate(spans, start=1))


def _span(where: str, span: Any) -> TextSpan:
    if isinstance(span, str) and span.strip():
        return TextSpan("passage", passage=check_text(where, span))
    if isinstance(span, list | tuple):
        return TextSpan("characters", *_ends(where, span))
    if isinstance(span, dict) and list(span) == ["tokens"]:
        return TextSpan("tokens", *_ends(where, span["tokens"]))
    raise UsageError(f"{where}: expected {_SPAN}, got {span!r:.60}")


def _ends(where: str, ends: Any) -> tuple[int, int]:
    whole = isinstance(ends, list | tuple) and len(ends) == 2 and all(type(end) is int for end in ends)
    if not whole or not 0 <= ends[0] < ends[1]:
        raise UsageError(f"{where}: expected two whole numbers [start, end] with 0 <= start < end, got {ends!r:.60}")
    return ends[0], ends[1]
