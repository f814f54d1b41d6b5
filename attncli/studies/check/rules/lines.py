"""Rules in one line: `sink < 0.9`, `no head uniform`, `head 0.2 is previous-token`."""

from __future__ import annotations

import re
from typing import Any

from attncli.errors import UsageError
from attncli.inputs.yaml_file import Document
from attncli.studies.check.rules.heads import candidates
from attncli.studies.check.rules.kinds import BudgetRule, ClassRule, Rule, known_class, known_metric, placed

_KIND = r"(?:(?P<kind>encoder|decoder|cross)\s+)?"
_LIMIT = re.compile(
    _KIND + r"(?P<metric>[\w-]+)\s*(?P<sign><=|>=|<|>)\s*(?P<number>\S+)(?:\s+(?:in|for)\s+(?P<heads>.+))?"
)
_ONE = re.compile(_KIND + r"head\s+(?P<head>-?\d+\.-?\d+)\s+is\s+(?P<no>not\s+)?(?P<of>[\w-]+)")
_HEADS = re.compile(
    _KIND
    + r"(?P<how>no|some|any|every|all)\s+heads?(?:\s+(?P<heads>(?:of|in)\s+.+?))?(?:\s+(?:is|are))?\s+(?P<of>[\w-]+)"
)
_FORMS = "'sink < 0.9', 'no head uniform', 'head 0.2 is previous-token' or 'some head of layer 2-5 is vertical'"


def rule_of_line(part: Document, line: str) -> Rule:
    """The rule that a line means; what cannot be meant is a `UsageError` that shows the forms."""
    line = " ".join(line.split())
    return placed(part, (), lambda: _of_line(part, line))


def _of_line(part: Document, line: str) -> Rule:
    kind: Any
    if match := _LIMIT.fullmatch(line):
        metric, kind = known_metric(match["metric"]), match["kind"]
        limits = ((match["sign"], _number(match["number"])),)
        return BudgetRule(part, line, None, kind, candidates([match["heads"] or "all"], "all"), metric, limits)
    if match := _ONE.fullmatch(line):
        heads, kind = candidates([match["head"]], "all"), match["kind"]
        return ClassRule(part, line, None, kind, heads, known_class(match["of"]), match["no"] is None)
    if match := _HEADS.fullmatch(line):
        no, kind = match["how"] == "no", match["kind"]
        heads = candidates([f"{'all' if no else match['how']} {match['heads'] or ''}".strip()], "all")
        return ClassRule(part, line, None, kind, heads, known_class(match["of"]), not no)
    raise UsageError(f"expected a rule such as {_FORMS}, got '{line}'")


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not abs(value) < float("inf"):
        raise UsageError(f"expected a number, got '{text}'")
    return value
