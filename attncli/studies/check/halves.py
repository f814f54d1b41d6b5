"""Two halves of a suite, one that chooses the head and one that scores it; and what a fixed position gives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import fmean

import numpy as np

from attncli.data import Array
from attncli.studies.check.bound import WordPositions
from attncli.studies.check.statistics import SEED
from attncli.studies.check.weights import Demand

LEAST_UNITS = 10
"""Fewest units of a half."""
_OFFSET = "offset "
_ORDERS = ("nearer", "farther", "earlier", "later")


def scored_half(cases: Sequence[WordPositions], units: Sequence[int]) -> Array | None:
    """Return which cases [case] score the head; the others choose it. None if a half has fewer than 10 units.

    units  unit of each case

    Cases of one unit or of one text are in the same half. Cases in which the words have the same order (and which have
    a word of `than` or not) are spread over both halves, with one seed.
    """
    groups = _groups([case.text for case in cases], units)
    strata = [tuple(sorted(Counter(_order(cases[case]) for case in group).items())) for group in groups]
    sizes = [len({units[case] for case in group}) for group in groups]
    shuffled = np.random.default_rng(SEED).permutation(len(groups)).tolist()
    totals, of_stratum, scored = [0, 0], Counter[tuple[object, int]](), np.zeros(len(cases), bool)
    # large groups first, so that small ones can even out the halves
    for group in sorted(shuffled, key=lambda group: (strata[group], -sizes[group])):
        stratum = strata[group]
        half = min((0, 1), key=lambda half: (of_stratum[stratum, half], totals[half]))
        of_stratum[stratum, half] += sizes[group]
        totals[half] += sizes[group]
        scored[groups[group]] = half == 1
    return scored if min(totals) >= LEAST_UNITS else None


def _groups(texts: Sequence[int], units: Sequence[int]) -> list[list[int]]:
    """Return the cases of each group: those that share a text or a unit, also by way of others."""
    parents: dict[tuple[str, int], tuple[str, int]] = {}

    def root(name: tuple[str, int]) -> tuple[str, int]:
        while (parent := parents.setdefault(name, name)) != name:
            parents[name] = name = parents.setdefault(parent, parent)
        return name

    for text, unit in zip(texts, units, strict=True):
        parents[root(("text", text))] = root(("unit", unit))
    groups: dict[tuple[str, int], list[int]] = {}
    for case, unit in enumerate(units):
        groups.setdefault(root(("unit", unit)), []).append(case)
    return list(groups.values())


def _order(case: WordPositions) -> tuple[int, ...]:
    """Return the order of the words of a case: of query and target, and of target and the other word, if any."""
    query, target = fmean(case.query.tolist()), fmean(case.target)
    differences = [target - query, *([fmean(case.than) - target] if case.than else ())]
    return tuple((difference > 0) - (difference < 0) for difference in differences)


def position_names(cases: Iterable[WordPositions]) -> list[str]:
    """Return the names of all ways to guess by a fixed position: offsets that reach a target, then orders of two words.

    An offset is that of the key from the query, `offset -1` for the previous token; `nearer` is the nearer one of the
    words of to and than.
    """
    offsets = {key - query for case in cases for query in case.query.tolist() for key in case.target}
    return [*(f"{_OFFSET}{offset:+d}" for offset in sorted(offsets, key=lambda value: (abs(value), value))), *_ORDERS]


def position_holds(case: WordPositions, names: Sequence[str], demand: Demand) -> Array:
    """Return whether each way to guess by position [name] is right in a case.

    At an offset, all weight of a query token is on the key at that offset. An order gives all weight to one of the two
    words; a case without `than` has no order, and none is right.
    """
    query = case.query.tolist()
    target, than = (Counter(key - token for key in keys for token in query) for keys in (case.target, case.than))
    offsets = [int(name.removeprefix(_OFFSET)) for name in names if name.startswith(_OFFSET)]
    weights = [np.array([counts[offset] for offset in offsets]) / len(query) for counts in (target, than)]
    holds = demand.margins(weights[0], weights[1] if case.than else None) >= 0
    return np.array([*holds.tolist(), *(_is_first(case, name) for name in names if name in _ORDERS)], bool)


def _is_first(case: WordPositions, name: str) -> bool:
    """Return whether the target is the nearer (farther, earlier, later) one of the two words."""
    if not case.than:
        return False
    origin = fmean(case.query.tolist()) if name in ("nearer", "farther") else 0.0
    target, other = (abs(fmean(keys) - origin) for keys in (case.target, case.than))
    return target < other if name in ("nearer", "earlier") else target > other
