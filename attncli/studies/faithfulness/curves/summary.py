"""Sentences about the curves that a reader can quote: which methods beat a random order, by how much, and where not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from attncli.data import Array
from attncli.data.described import counted
from attncli.studies.faithfulness.orders import POSITION, RANDOM

QUOTED = {"comprehensiveness": "higher", "sufficiency": "lower"}
"""The numbers that sentences name, and what is better of each."""


@dataclass(frozen=True)
class Difference:
    """The mean difference of a method from a baseline, with its interval; better is None if it is unclear."""

    method: str
    difference: float
    low: float
    high: float
    better: bool | None

    def __str__(self) -> str:
        return f"{self.method} by {self.difference:+.3f} [{self.low:.3f}, {self.high:.3f}]"


def curve_sentences(differences: Mapping[str, Array], removals: Sequence[str], texts: int) -> Iterator[str]:
    """Yield sentences about the differences from a random order.

    differences  a row per removal, method, measure and baseline, as in `Curves.differences`
    """
    if not any(better is not None for better in differences["better"].tolist()) and not _has_intervals(differences):
        yield (
            f"{counted(texts, 'text')}: too few for intervals, so nothing can be said of the methods in general. From "
            "6 texts on, intervals over texts show which methods beat a random order."
        )
        return
    by_removal = {
        (removal, measure): list(_against(RANDOM, differences, removal, measure))
        for removal in removals
        for measure in QUOTED
    }
    for (removal, measure), rows in by_removal.items():
        near = [row.method for row in _against(POSITION, differences, removal, measure) if not row.better]
        no_better = f"; not clearly better than an order by position: {joined(near)}" if near else ""
        yield f"Removal {removal}, {counted(texts, 'text')}: {_sentence(measure, rows)}{no_better}."
    yield from _disagreements(by_removal, removals)


def _has_intervals(differences: Mapping[str, Array]) -> bool:
    return any(low == low for low in differences["low"].tolist())


def _against(baseline: str, differences: Mapping[str, Array], removal: str, measure: str) -> Iterator[Difference]:
    """Yield the differences of all methods from a baseline."""
    names = ("removal", "measure", "baseline")
    wanted = (removal, measure, baseline)
    columns = ("method", "difference", "low", "high", "better")
    for row in range(len(differences["method"])):
        if tuple(differences[name][row] for name in names) == wanted:
            method, change, low, high, is_better = (differences[name][row] for name in columns)
            yield Difference(str(method), float(change), float(low), float(high), is_better)


def _sentence(measure: str, rows: Sequence[Difference]) -> str:
    """Return which methods beat a random order, which do not measurably, and which are worse."""
    better = [str(row) for row in rows if row.better]
    unclear = [row.method for row in rows if row.better is None]
    worse = [str(row) for row in rows if row.better is False]
    direction = QUOTED[measure]
    opposite = {"higher": "lower", "lower": "higher"}[direction]
    parts = [f"{measure} is {direction} (better) than that of a random order for {joined(better) or 'no method'}"]
    parts += [f"no clear difference for {joined(unclear)}"] if unclear else []
    parts += [f"{opposite} (worse) for {joined(worse)}"] if worse else []
    return "; ".join(parts)


def _disagreements(
    by_removal: Mapping[tuple[str, str], Sequence[Difference]], removals: Sequence[str]
) -> Iterator[str]:
    """Yield a sentence about the methods of which the removals say different things."""
    different = []
    for measure in QUOTED if len(removals) > 1 else ():
        for rows in zip(*(by_removal[removal, measure] for removal in removals), strict=True):
            if len({row.better for row in rows}) > 1:
                words = {True: "better", False: "worse", None: "unclear"}
                said = ", ".join(f"{removal}: {words[row.better]}" for removal, row in zip(removals, rows, strict=True))
                different.append(f"{measure} of {rows[0].method} ({said})")
    if different:
        yield f"The removals disagree on {joined(different)}: conclusions there depend on how tokens are removed."
    elif len(removals) > 1:
        yield f"The removals {joined(removals)} agree on which methods beat a random order."


def joined(names: Sequence[str]) -> str:
    """Return names with commas, and `and` before the last.

    >>> joined(["a"]), joined(["a", "b", "c"]), joined([])
    ('a', 'a, b and c', '')
    """
    *first, last = names or [""]
    return f"{', '.join(first)} and {last}" if first else last
