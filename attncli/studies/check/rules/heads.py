"""Phrases that name the heads of a rule: `any`, `all`, `3.1`, `layer 4-8`, or several of these."""

from __future__ import annotations

import re
from collections.abc import Iterable

from attncli.errors import UsageError
from attncli.studies.check.result import Candidates, Quantifier

_PHRASE = re.compile(
    r"(?:(?P<quantifier>any|some|all|every)\b\s*)?(?:heads?\b\s*)?(?:(?:of|in)\b\s*)?"
    r"(?:(?P<layer>-?\d{1,6})\.(?P<head>-?\d{1,6})|layers?\s+(?P<first>-?\d{1,6})(?:-(?P<last>\d{1,6}))?)?"
)
_QUANTIFIERS: dict[str, Quantifier] = {"any": "any", "some": "any", "all": "all", "every": "all"}


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
