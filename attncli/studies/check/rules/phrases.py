"""Short phrases: heads such as `layer 4-8`, and rules in one line: `sink < 0.9`, `head 0.2 is previous-token`."""

import re
from collections.abc import Iterable
from typing import Any

from attncli.errors import UsageError
from attncli.inputs.yaml_file import Document
from attncli.studies.check.result import Candidates, Quantifier
from attncli.studies.check.rules.kinds import BudgetRule, ClassRule, Rule, check_class, check_measure, with_position

_PHRASE = re.compile(
    r"(?:(?P<quantifier>any|some|all|every)\b\s*)?(?:heads?\b\s*)?(?:(?:of|in)\b\s*)?"
    r"(?:(?P<layer>-?\d{1,6})\.(?P<head>-?\d{1,6})|layers?\s+(?P<first>-?\d{1,6})(?:-(?P<last>\d{1,6}))?)?"
)
_QUANTIFIERS: dict[str, Quantifier] = {"any": "any", "some": "any", "all": "all", "every": "all"}
KIND_PHRASE = r"(?:(?P<kind>encoder|decoder|cross)\s+)?"
_LIMIT = re.compile(
    KIND_PHRASE + r"(?P<metric>[\w-]+)\s*(?P<sign><=|>=|<|>)\s*(?P<number>\S+)(?:\s+(?:in|for)\s+(?P<heads>.+))?"
)
_SINGLE_HEAD = re.compile(KIND_PHRASE + r"head\s+(?P<head>-?\d+\.-?\d+)\s+is\s+(?P<negation>not\s+)?(?P<of>[\w-]+)")
_HEADS = re.compile(
    KIND_PHRASE
    + r"(?P<quantifier>no|some|any|every|all)\s+heads?"
    + r"(?:\s+(?P<heads>(?:of|in)\s+.+?))?(?:\s+(?:is|are))?\s+(?P<of>[\w-]+)"
)
_FORMS = "'sink < 0.9', 'no head uniform', 'head 0.2 is previous-token' or 'some head of layer 2-5 is vertical'"


def candidates(phrases: Iterable[str], default: Quantifier) -> Candidates:
    """Return the heads that phrases name; raise UsageError if a phrase is wrong.

    default  quantifier if no phrase says any or all

    >>> candidates(["layer 4-8"], "any")
    Candidates(quantifier='any', named=((4, 8, None),))
    >>> candidates(["all 3.1, -1.0"], "any")
    Candidates(quantifier='all', named=((3, 3, 1), (-1, -1, 0)))
    """
    quantifier: Quantifier | None = None
    named: list[tuple[int, int, int | None]] = []
    for phrase in (part.strip() for listed in phrases for part in listed.split(",")):
        match = _PHRASE.fullmatch(phrase)
        if match is None or not phrase:
            raise UsageError(f"expected heads such as any, all, 3.1 or layer 4-8, got '{phrase}'")
        if word := match["quantifier"]:
            if quantifier not in (None, _QUANTIFIERS[word]):
                raise UsageError("heads can be any of those named or all of them, not both")
            quantifier = _QUANTIFIERS[word]
        if match["head"] is not None:
            named.append((int(match["layer"]), int(match["layer"]), int(match["head"])))
        elif match["first"] is not None:
            named.append((int(match["first"]), int(match["last"] or match["first"]), None))
    return Candidates(quantifier or default, tuple(named))


def describe_heads(heads: Candidates) -> str:
    """Return the heads in words.

    >>> describe_heads(candidates(["layer 4-8", "3.1"], "any"))
    'some head of layers 4-8, 3.1'
    """
    if len(heads.named) == 1 and heads.named[0][2] is not None:
        return f"head {_describe(heads.named[0])}"
    words = "some head" if heads.quantifier == "any" else "every head"
    return words + (f" of {', '.join(map(_describe, heads.named))}" if heads.named else "")


def _describe(named: tuple[int, int, int | None]) -> str:
    first, last, head = named
    if head is not None:
        return f"{first}.{head}"
    return f"layer {first}" if first == last else f"layers {first}-{last}"


def rule_of_line(part: Document, line: str) -> Rule:
    """Return the rule of a line; raise UsageError with examples if the line is not a rule."""
    line = " ".join(line.split())
    return with_position(part, (), lambda: _parse_line(part, line))


def _parse_line(part: Document, line: str) -> Rule:
    kind: Any
    if match := _LIMIT.fullmatch(line):
        metric, kind = check_measure(match["metric"]), match["kind"]
        limits = ((match["sign"], number_of(match["number"])),)
        return BudgetRule(part, line, None, kind, candidates([match["heads"] or "all"], "all"), metric, limits)
    if match := _SINGLE_HEAD.fullmatch(line):
        heads, kind = candidates([match["head"]], "all"), match["kind"]
        return ClassRule(part, line, None, kind, heads, check_class(match["of"]), match["negation"] is None)
    if match := _HEADS.fullmatch(line):
        negated, kind = match["quantifier"] == "no", match["kind"]
        heads = candidates([f"{'all' if negated else match['quantifier']} {match['heads'] or ''}".strip()], "all")
        return ClassRule(part, line, None, kind, heads, check_class(match["of"]), not negated)
    raise UsageError(f"expected a rule such as {_FORMS}, got '{line}'")


def number_of(text: str) -> float:
    """Return the number of a phrase; raise UsageError if it is none."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not abs(value) < float("inf"):
        raise UsageError(f"expected a number, got '{text}'")
    return value
