"""Rules in one line: `sink < 0.9`, `no head uniform`, `head 0.2 is previous-token`."""

from __future__ import annotations

import re
from typing import Any

from attncli.errors import UsageError
from attncli.inputs.yaml_file import Document
from attncli.studies.check.rules.heads import candidates
from attncli.studies.check.rules.kinds import BudgetRule, ClassRule, Rule, check_class, check_metric, with_position

_KIND = r"(?:(?P<kind>encoder|decoder|cross)\s+)?"
_LIMIT = re.compile(
    _KIND + r"(?P<metric>[\w-]+)\s*(?P<sign><=|>=|<|>)\s*(?P<number>\S+)(?:\s+(?:in|for)\s+(?P<heads>.+))?"
)
_SINGLE_HEAD = re.compile(_KIND + r"head\s+(?P<head>-?\d+\.-?\d+)\s+is\s+(?P<negation>not\s+)?(?P<of>[\w-]+)")
_HEADS = re.compile(
    _KIND
    + r"(?P<quantifier>no|some|any|every|all)\s+heads?"
    + r"(?:\s+(?P<heads>(?:of|in)\s+.+?))?(?:\s+(?:is|are))?\s+(?P<of>[\w-]+)"
)
_FORMS = "'sink < 0.9', 'no head uniform', 'head 0.2 is previous-token' or 'some head of layer 2-5 is vertical'"


def rule_of_line(part: Document, line: str) -> Rule:
    """Return the rule of a line; raise UsageError with examples if the line is not a rule."""
    line = " ".join(line.split())
    return with_position(part, (), lambda: _parse_line(part, line))


def _parse_line(part: Document, line: str) -> Rule:
    kind: Any
    if match := _LIMIT.fullmatch(line):
        metric, kind = check_metric(match["metric"]), match["kind"]
        limits = ((match["sign"], _number(match["number"])),)
        return BudgetRule(part, line, None, kind, candidates([match["heads"] or "all"], "all"), metric, limits)
    if match := _SINGLE_HEAD.fullmatch(line):
        heads, kind = candidates([match["head"]], "all"), match["kind"]
        return ClassRule(part, line, None, kind, heads, check_class(match["of"]), match["negation"] is None)
    if match := _HEADS.fullmatch(line):
        negated, kind = match["quantifier"] == "no", match["kind"]
        heads = candidates([f"{'all' if negated else match['quantifier']} {match['heads'] or ''}".strip()], "all")
        return ClassRule(part, line, None, kind, heads, check_class(match["of"]), not negated)
    raise UsageError(f"expected a rule such as {_FORMS}, got '{line}'")


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not abs(value) < float("inf"):
        raise UsageError(f"expected a number, got '{text}'")
    return value
