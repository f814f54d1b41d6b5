"""Which kinds, layers and heads are wanted: `all`, `3`, `-1`, `0,2,5-7` against what a model or a run has."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from attncli.data import KINDS, Kind, Selection, Span
from attncli.errors import UsageError, did_you_mean

Numbers = tuple[tuple[int, int], ...] | None
"""Inclusive ranges in the order given; None is all."""
Wanted = int | str | Sequence[int] | None
"""How a user says which numbers: `3`, `"0,2,5-7"`, `[0, 2]`; None and `"all"` are all."""
Available = Mapping[tuple[Kind, int], Sequence[int]]
"""The heads that there are, by kind and layer."""

_PART = re.compile(r"(-?\d{1,9})(?:-(-?\d{1,9}))?")


@dataclass(frozen=True)
class Choice:
    """A wish for kinds, layers and heads, not yet held against a model; None is all."""

    kinds: tuple[Kind, ...] | None = None
    layers: Numbers = None
    heads: Numbers = None


def choose(kinds: str | Iterable[str] | None = None, layers: Wanted = None, heads: Wanted = None) -> Choice:
    """Read a wish; what cannot be meant is a `UsageError`."""
    return Choice(_kinds(kinds), parse_numbers(layers, "layer"), parse_numbers(heads, "head"))


def parse_numbers(wanted: Wanted, what: str) -> Numbers:
    """Numbers and inclusive ranges; negative ones count from the end.

    >>> parse_numbers("0,2,5-7", "layer"), parse_numbers(-1, "layer"), parse_numbers("all", "head")
    (((0, 0), (2, 2), (5, 7)), ((-1, -1),), None)
    """
    if wanted is None or wanted == "all":
        return None
    if isinstance(wanted, int):
        return ((wanted, wanted),)
    if not isinstance(wanted, str):
        wanted = ",".join(map(str, wanted))
    return tuple(_part(part.strip(), wanted, what) for part in wanted.split(","))


def _part(part: str, whole: str, what: str) -> tuple[int, int]:
    match = _PART.fullmatch(part)
    if match is None:
        raise UsageError(f"expected --{what} like all, 3, -1 or 0,2,5-7 (counted from 0), got {whole!r}")
    first = int(match[1])
    last = first if match[2] is None else int(match[2])
    if (first < 0) == (last < 0) and last < first:
        raise UsageError(f"--{what} {part} ends before it begins: write the smaller number first")
    return first, last


def parse_span(wanted: int | str | Span | None, what: str) -> Span | None:
    """One position or one inclusive range of them; negative ones count from the end.

    >>> parse_span("8000-8400", "rows"), parse_span(17, "rows"), parse_span((0, 600), "keys")
    ((8000, 8400), (17, 17), (0, 600))
    """
    if wanted is None:
        return None
    shown = "-".join(map(str, wanted)) if isinstance(wanted, (tuple, list)) else str(wanted).strip()
    if _PART.fullmatch(shown) is None:
        raise UsageError(f"expected --{what} like 17 or 8000-8400 (counted from 0), got {shown!r}")
    return _part(shown, shown, what)


def _kinds(kinds: str | Iterable[str] | None) -> tuple[Kind, ...] | None:
    if kinds is None:
        return None
    wanted = [kinds] if isinstance(kinds, str) else list(kinds)
    for kind in wanted:
        if kind not in KINDS:
            raise UsageError(f"unknown --kind '{kind}': {did_you_mean(kind, KINDS)}")
    return tuple(kind for kind in KINDS if kind in wanted) or None


def resolve(choice: Choice, available: Available, where: str = "this model") -> Selection:
    """The heads that a choice means, of those that there are; what does not exist is a `UsageError` that lists it.

    A number counts as existing when one of the kinds (for heads: one of the layers) has it.
    """
    kinds = _existing_kinds(choice, available, where)
    _all_meet(choice.layers, "layer", {kind: layers_of(available, kind) for kind in kinds})
    chosen = {kind: _pick(choice.layers, layers_of(available, kind)) for kind in kinds}
    heads = {(kind, layer): _pick(choice.heads, available[kind, layer]) for kind in kinds for layer in chosen[kind]}
    _all_meet(choice.heads, "head", {f"{kind} layer {layer}": available[kind, layer] for kind, layer in heads})
    return {at: numbers for at, numbers in heads.items() if numbers or not available[at]}


def layers_of(available: Available, kind: Kind) -> list[int]:
    """The layers of a kind, in order."""
    return sorted(layer for of, layer in available if of == kind)


def _existing_kinds(choice: Choice, available: Available, where: str) -> list[Kind]:
    there = [kind for kind in KINDS if any(of == kind for of, _ in available)]
    for kind in choice.kinds or ():
        if kind not in there:
            raise UsageError(f"{where} has no {kind} attention; it has: {', '.join(there)}")
    return [kind for kind in there if choice.kinds is None or kind in choice.kinds]


def _pick(numbers: Numbers, there: Sequence[int]) -> tuple[int, ...]:
    """Those of the existing numbers that are meant, in order."""
    if numbers is None:
        return tuple(there)
    meant = {number for span in numbers for number in _meant(span, there)}
    return tuple(number for number in there if number in meant)


def _meant(span: tuple[int, int], there: Sequence[int]) -> set[int]:
    first, last = (_from_end(number, there) for number in span)
    if first is None or last is None:
        return set()
    return {number for number in there if first <= number <= last}


def _from_end(number: int, there: Sequence[int]) -> int | None:
    if number >= 0:
        return number
    return there[number] if -number <= len(there) else None


def _all_meet(numbers: Numbers, what: str, places: Mapping[str, Sequence[int]]) -> None:
    """Each number and both ends of each range must exist somewhere: half a range is no guess of ours."""
    for span in numbers or ():
        for end in span:
            if not any(_meant((end, end), there) for there in places.values()):
                raise UsageError(_missing(end, what, places))
        if not any(_meant(span, there) for there in places.values()):
            raise UsageError(f"--{what} {span[0]}-{span[1]} selects nothing: write the smaller number first")


def _missing(number: int, what: str, places: Mapping[str, Sequence[int]]) -> str:
    alike = {spans(there) for there in places.values()}
    if len(alike) == 1 and len(places) > 1:
        there = f"there are {what}s {alike.pop()}"
    else:
        there = "; ".join(f"{place} has {what}s {spans(numbers)}" for place, numbers in list(places.items())[:4])
    return f"{what} {number} does not exist: {there}"


def spans(numbers: Sequence[int]) -> str:
    """Numbers in order, runs of them as ranges.

    >>> spans([0, 1, 2, 5, 7, 8])
    '0-2, 5, 7-8'
    """
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1] = [parts[-1][0], number]
        else:
            parts.append([number])
    return ", ".join("-".join(map(str, part)) for part in parts) or "none"
