"""Which heads a rule is about: `any`, `all`, `3.1`, `layer 4-8`, several of these."""

from __future__ import annotations

import re
from collections.abc import Iterable

from attncli.errors import UsageError
from attncli.studies.check.result import Candidates, Quantifier

_PHRASE = re.compile(
    r"(?:(?P<how>any|some|all|every)\b\s*)?(?:heads?\b\s*)?(?:(?:of|in)\b\s*)?"
    r"(?:(?P<layer>-?\d{1,6})\.(?P<head>-?\d{1,6})|layers?\s+(?P<first>-?\d{1,6})(?:-(?P<last>\d{1,6}))?)?"
)
_HOW: dict[str, Quantifier] = {"any": "any", "some": "any", "all": "all", "every": "all"}


def candidates(phrases: Iterable[str], otherwise: Quantifier) -> Candidates:
    """The heads that are meant, any of them or all of them; `otherwise` where that is not said.

    >>> candidates(["layer 4-8"], "any")
    Candidates(quantifier='any', named=((4, 8, None),))
    >>> candidates(["all 3.1, -1.0"], "any")
    Candidates(quantifier='all', named=((3, 3, 1), (-1, -1, 0)))
    """
    how: Quantifier | None = None
    named: list[tuple[int, int, int | None]] = []
    for phrase in (part.strip() for given in phrases for part in given.split(",")):
        match = _PHRASE.fullmatch(phrase)
        if match is None or not phrase:
            raise UsageError(f"expected heads such as any, all, 3.1 or layer 4-8, got '{phrase}'")
        if match["how"]:
            if how not in (None, _HOW[match["how"]]):
                raise UsageError("heads can be any of those named or all of them, not both")
            how = _HOW[match["how"]]
        if match["head"] is not None:
            named.append((int(match["layer"]), int(match["layer"]), int(match["head"])))
        elif match["first"] is not None:
            named.append((int(match["first"]), int(match["last"] or match["first"]), None))
    return Candidates(how or otherwise, tuple(named))


def said(heads: Candidates) -> str:
    """The same in words.

    >>> said(candidates(["layer 4-8", "3.1"], "any"))
    'some head of layers 4-8, 3.1'
    """
    if len(heads.named) == 1 and heads.named[0][2] is not None:
        return f"head {_one(heads.named[0])}"
    every = "some head" if heads.quantifier == "any" else "every head"
    return every + (f" of {', '.join(map(_one, heads.named))}" if heads.named else "")


def _one(named: tuple[int, int, int | None]) -> str:
    first, last, head = named
    if head is not None:
        return f"{first}.{head}"
    return f"layer {first}" if first == last else f"layers {first}-{last}"
