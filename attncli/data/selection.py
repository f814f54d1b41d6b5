"""Selection of kinds, layers and heads: parse `all`, `3`, `-1`, `0,2,5-7` and apply it to a model or a run."""

import operator
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import SupportsIndex

from attncli.data import KINDS, Kind, Selection, Span, base_kind, kind_order
from attncli.errors import UsageError, did_you_mean

Numbers = tuple[tuple[int, int], ...] | None
"""Inclusive ranges in the order given; None is all."""
NumbersOption = int | str | Sequence[int] | None
"""Numbers as a user gives them: `3`, `"0,2,5-7"`, `[0, 2]`; None and `"all"` are all."""
Available = Mapping[tuple[Kind, int], Sequence[int]]
"""The existing heads, by kind and layer."""

_RANGE = re.compile(r"(-?\d{1,9})(?:-(-?\d{1,9}))?")


@dataclass(frozen=True)
class Choice:
    """The requested kinds, layers and heads, not yet checked against a model; None is all."""

    kinds: tuple[Kind, ...] | None = None
    layers: Numbers = None
    heads: Numbers = None


def choose(
    kinds: str | Iterable[str] | None = None, layers: NumbersOption = None, heads: NumbersOption = None
) -> Choice:
    """Return the parsed request; raise UsageError if it cannot be parsed."""
    if kinds is not None and not isinstance(kinds, Iterable):
        raise UsageError(f"expected --kind as one or several of {', '.join(KINDS)}, got {kinds!r:.60}")
    requested = [kinds] if isinstance(kinds, str) else list(kinds or ())
    for kind in requested:
        if base_kind(str(kind)) not in KINDS:
            raise UsageError(f"unknown --kind '{str(kind)[:60]}': {did_you_mean(str(kind), KINDS)}")
    chosen = tuple(sorted(set(requested), key=kind_order)) or None
    return Choice(chosen, parse_numbers(layers, "layer"), parse_numbers(heads, "head"))


def parse_numbers(numbers: NumbersOption, what: str) -> Numbers:
    """Return numbers as inclusive ranges; negative ones count from the end. `what` names the option in errors.

    >>> parse_numbers("0,2,5-7", "layer"), parse_numbers(-1, "layer"), parse_numbers("all", "head")
    (((0, 0), (2, 2), (5, 7)), ((-1, -1),), None)
    """
    if numbers is None or (isinstance(numbers, str) and numbers == "all"):
        return None
    if isinstance(numbers, bool | bytes) or not isinstance(numbers, SupportsIndex | str | Iterable):
        raise UsageError(f"expected --{what} like all, 3, -1 or 0,2,5-7 (counted from 0), got {numbers!r:.60}")
    if not isinstance(numbers, str | Iterable):  # an integer of Python or NumPy
        numbers = str(operator.index(numbers))
    if not isinstance(numbers, str):
        numbers = ",".join(map(str, numbers))
    return tuple(_parse_range(part.strip(), numbers, what) for part in numbers.split(","))


def _parse_range(part: str, option: str, what: str) -> tuple[int, int]:
    match = _RANGE.fullmatch(part)
    if match is None:
        raise UsageError(f"expected --{what} like all, 3, -1 or 0,2,5-7 (counted from 0), got {option!r:.60}")
    first = int(match[1])
    last = first if match[2] is None else int(match[2])
    if (first < 0) == (last < 0) and last < first:
        raise UsageError(f"--{what} {part} ends before it begins: write the smaller number first")
    return first, last


def parse_span(span: int | str | Span | None, what: str) -> Span | None:
    """Return one position or range as (first, last); negative ones count from the end. `what` names the option.

    >>> parse_span("8000-8400", "rows"), parse_span(17, "rows"), parse_span((0, 600), "keys")
    ((8000, 8400), (17, 17), (0, 600))
    """
    if span is None:
        return None
    text = "-".join(map(str, span)) if isinstance(span, (tuple, list)) else str(span).strip()
    if _RANGE.fullmatch(text) is None:
        raise UsageError(f"expected --{what} like 17, 8000-8400 (counted from 0) or a word, got {text!r:.60}")
    return _parse_range(text, text, what)


def parse_tokens(tokens: int | str | Span | None, what: str) -> Span | str | None:
    """Return tokens as (first, last), or as their name if they are named; `what` names the option in errors.

    >>> parse_tokens("8000-8400", "rows"), parse_tokens("generated", "rows")
    ((8000, 8400), 'generated')
    """
    is_name = isinstance(tokens, str) and tokens.strip() and _RANGE.fullmatch(tokens.strip()) is None
    return str(tokens).strip() if is_name else parse_span(tokens, what)


def resolve(choice: Choice, available: Available, where: str = "this model") -> Selection:
    """Return the available heads that a choice selects; raise UsageError if it names a missing kind, layer or head.

    A layer must exist in one of the chosen kinds, a head in one of the chosen layers. A kind selects its scales too:
    layers are numbered through all of them.
    """
    existing = sorted({kind for kind, _ in available}, key=kind_order)
    for kind in choice.kinds or ():
        if kind not in {*existing, *map(base_kind, existing)}:
            raise UsageError(f"{where} has no {kind} attention; it has: {', '.join(existing)}"[:450])
    wanted = set(existing if choice.kinds is None else choice.kinds)
    layers: dict[Kind, dict[int, Kind]] = {}
    for kind in existing:
        if kind in wanted or base_kind(kind) in wanted:
            layers.setdefault(base_kind(kind), {}).update(dict.fromkeys(layers_of(available, kind), kind))
    _check_exist(choice.layers, "layer", {base: sorted(numbers) for base, numbers in layers.items()})
    chosen = [(kinds[layer], layer) for kinds in layers.values() for layer in _pick(choice.layers, sorted(kinds))]
    heads = {key: _pick(choice.heads, available[key]) for key in sorted(chosen, key=lambda key: kind_order(key[0]))}
    _check_exist(choice.heads, "head", {f"{kind} layer {layer}": available[kind, layer] for kind, layer in heads})
    return {key: numbers for key, numbers in heads.items() if numbers or not available[key]}


def layers_of(available: Available, kind: Kind) -> list[int]:
    """Return the layers of a kind, in order."""
    return sorted(layer for layer_kind, layer in available if layer_kind == kind)


def _pick(numbers: Numbers, existing: Sequence[int]) -> tuple[int, ...]:
    """Return the existing numbers that are selected, in order."""
    if numbers is None:
        return tuple(existing)
    selected = {number for span in numbers for number in _in_range(span, existing)}
    return tuple(number for number in existing if number in selected)


def _in_range(span: tuple[int, int], existing: Sequence[int]) -> set[int]:
    """Return the existing numbers in a range; none if one of its ends counts back too far."""
    if -min(span) > len(existing):
        return set()
    first, last = (number if number >= 0 else existing[number] for number in span)
    return {number for number in existing if first <= number <= last}


def _check_exist(numbers: Numbers, what: str, existing: Mapping[str, Sequence[int]]) -> None:
    """Raise UsageError unless each number and both ends of each range exist for one of the names in `existing`."""
    for span in numbers or ():
        for end in span:
            if not any(_in_range((end, end), known) for known in existing.values()):
                raise UsageError(f"{what} {end} does not exist: {_list_existing(what, existing)}")
        if not any(_in_range(span, known) for known in existing.values()):
            raise UsageError(f"--{what} {span[0]}-{span[1]} selects nothing: write the smaller number first")


def _list_existing(what: str, existing: Mapping[str, Sequence[int]]) -> str:
    ranges = {name: format_ranges(numbers) for name, numbers in existing.items()}
    if len(set(ranges.values())) == 1 and len(ranges) > 1:
        return f"there are {what}s {next(iter(ranges.values()))}"
    return "; ".join(f"{name} has {what}s {numbers}" for name, numbers in list(ranges.items())[:4])


def format_ranges(numbers: Sequence[int]) -> str:
    """Return numbers as text, with runs as ranges.

    >>> format_ranges([0, 1, 2, 5, 7, 8])
    '0-2, 5, 7-8'
    """
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1] = [runs[-1][0], number]
        else:
            runs.append([number])
    return ", ".join("-".join(map(str, run)) for run in runs) or "none"
