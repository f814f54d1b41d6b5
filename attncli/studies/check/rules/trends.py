"""Rules about checkpoints in one line: `sink rises by more than 0.2 between checkpoints in layer 2-5`."""

import re
from typing import Any

from attncli.errors import UsageError
from attncli.inputs.yaml_file import Document
from attncli.studies.check.result import RETRIEVAL
from attncli.studies.check.rules.kinds import (
    RIGIDITY,
    Direction,
    Span,
    TrendRule,
    check_metric,
    is_category,
    with_position,
)
from attncli.studies.check.rules.phrases import KIND_PHRASE, candidates, number_of

_LINE = re.compile(
    KIND_PHRASE
    + r"(?P<metric>[\w-]+)\s+(?P<must>must\s+)?(?P<direction>rise|fall|change)s?\s+by\s+more\s+than\s+(?P<number>\S+)"
    + r"(?:\s+(?:(?P<span>between(?:\s+any)?\s+checkpoints|from\s+first\s+to\s+last)"
    + r"|within\s+(?P<within>\d{1,12})\s+steps))?"
    + r"(?:\s+of\s+steps\s+(?P<first>\d{1,12})?-(?P<last>\d{1,12})?)?"
    + r"(?:\s+in\s+(?P<mean>(?:the\s+)?mean\s+of\s+)?(?P<heads>.+))?"
)
_BEGINNING = re.compile(KIND_PHRASE + r"[\w-]+\s+(?:must\s+)?(?:rise|fall|change)s?\b")
_SPANS: dict[str, Span] = {
    "between checkpoints": "neighbours",
    "between any checkpoints": "any",
    "from first to last": "ends",
}
_FORMS = (
    "'sink rises by more than 0.2 between checkpoints', 'induction falls by more than 0.1 within 500 steps in head "
    "1.3', or 'induction must rise by more than 0.3 from first to last'"
)


def is_trend(line: str) -> bool:
    """Return whether a line is a rule about checkpoints, though perhaps a wrong one.

    >>> is_trend("sink rises a lot"), is_trend("sink < 0.9")
    (True, False)
    """
    return _BEGINNING.match(" ".join(line.split())) is not None


def trend_of_line(part: Document, line: str, **more: Any) -> TrendRule:
    """Return the rule of a line; raise UsageError with examples if the line is not a rule about checkpoints.

    more  name, text and kind, if they are keys of the rule
    """
    line = " ".join(line.split())
    return with_position(part, ("trend",), lambda: _parsed(part, line, **more))


def _parsed(part: Document, line: str, name: str | None = None, text: Any = None, kind: Any = None) -> TrendRule:
    match = _LINE.fullmatch(line)
    if match is None:
        raise UsageError(f"expected a trend such as {_FORMS}, got '{line}'")
    if kind is not None and match["kind"] is not None:
        raise UsageError(f"the kind is given twice, as '{match['kind']}' and as kind: leave one out")
    by = number_of(match["number"])
    if by < 0:
        raise UsageError(f"expected a number of at least 0 after 'by more than', got '{match['number']}'")
    metric, direction = _check_trend_measure(match["metric"], text), _direction(match["direction"])
    span: Span = "within" if match["within"] else _SPANS[match["span"] or "between checkpoints"]
    first, last = (None if match[end] is None else int(match[end]) for end in ("first", "last"))
    if first is not None and last is not None and first > last:
        raise UsageError(f"steps {first}-{last} end before they begin: write the smaller number first")
    heads = candidates([match["heads"] or "any"], "any")
    settings: dict[str, Any] = {"must": match["must"] is not None, "mean": match["mean"] is not None}
    settings |= {"span": span, "within": int(match["within"] or 0), "steps": (first, last)}
    # the name of an alarm says that it does not happen, so that it can hold
    name = name or (line if settings["must"] else f"no alarm: {line}")
    return TrendRule(part, name, text, kind or match["kind"], heads, metric, direction, by, **settings)


def _direction(word: str) -> Direction:
    directions: dict[str, Direction] = {"rise": "rises", "fall": "falls", "change": "changes"}
    return directions[word]


def _check_trend_measure(name: str, text: Any) -> str:
    """Return `name`; raise UsageError if no measure has this name, or if it has no rise and fall."""
    if name == RIGIDITY:
        if text is not None:
            raise UsageError("rigidity compares texts with each other: leave out the text of the rule")
        return name
    if name == RETRIEVAL:
        raise UsageError("a trend of retrieval is not measured: write a rule about one model")
    if is_category(check_metric(name)):
        raise UsageError(f"{name} is a position, which does not rise or fall: name another metric")
    return name
