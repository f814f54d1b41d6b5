"""Verdicts on measures of heads: budgets, and the classes that heads bear."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from attncli import registry
from attncli.data import Array, Input, Kind, Rows, Selection
from attncli.stream import Measure, Sink
from attncli.stream.segment_mass import SegmentMass, numbered_segments
from attncli.stream.uniform_baseline import uniform_rows
from attncli.studies.check.bound import Place, kept, pick, where
from attncli.studies.check.limits import DIGITS, margins
from attncli.studies.check.result import OFFSETS, Verdict
from attncli.studies.check.rules.heads import said
from attncli.studies.check.rules.kinds import BudgetRule, ClassRule, Rule, wanted_of
from attncli.studies.patterns.classes import UNIFORM_SEGMENT, verdicts
from attncli.studies.patterns.options import Thresholds
from attncli.studies.patterns.result import CLASS_NUMBERS, NUMBERS

SEGMENT_MASS = "segment_mass"
_MEASURED = tuple(name for name in NUMBERS if name != SEGMENT_MASS)
_LEAST = 10.0**-DIGITS / 2
_LOW = ("sparse",)
"""Classes whose number is low."""
Texts = tuple[int, ...]
Values = Mapping[str, Mapping[Place, float]]


@dataclass(frozen=True, eq=False)
class BoundMeasure:
    """A budget or a rule about classes, with its heads and texts."""

    rule: BudgetRule | ClassRule
    heads: tuple[Place, ...]
    texts: Texts


class Measures:
    """The sink that measures texts one by one, beside even attention; and what it found.

    metrics  those that a baseline needs; rules add theirs
    """

    def __init__(
        self, bound: Sequence[BoundMeasure], metrics: Sequence[str], inputs: Sequence[Input], heads: Selection
    ) -> None:
        by_class = [each for each in bound if isinstance(each.rule, ClassRule)]
        names = [*metrics, *(each.rule.metric for each in bound if isinstance(each.rule, BudgetRule))]
        names += _MEASURED if by_class else ()
        declared = [registry.module("metrics", name).METRIC for name in dict.fromkeys(names)]
        self._heads, self._any = heads, bool(declared)
        self._own, self._even = (Measure(declared, per_text=True, heads=heads) for _ in range(2))
        self._found: dict[tuple[Texts, bool], Values] = {}
        self._segments: dict[Texts, tuple[SegmentMass, SegmentMass]] = {}
        for texts in {each.texts for each in by_class}:
            alone = [one if one.index in texts else _undivided(one) for one in inputs]
            if any(numbered_segments(one.source) is not None for one in alone):
                self._segments[texts] = SegmentMass(alone), SegmentMass(alone)

    @property
    def needed(self) -> bool:
        """Whether there is anything to measure."""
        return self._any

    def add(self, rows: Rows) -> None:
        """Measure one block and let it go."""
        self._own.add(rows)
        for own, _ in self._segments.values():
            own.add(rows)
        heads = self._heads.get((rows.kind, rows.layer), ())
        if heads and heads[0] in rows.heads:  # of heads that see the same, one stands for all
            same = uniform_rows(rows)
            self._even.add(same)
            for _, alike in self._segments.values():
                alike.add(same)

    def end_layer(self, kind: Kind, layer: int) -> None:
        """Finish the measures of a layer."""
        sinks: list[Sink] = [self._own, self._even, *(sink for pair in self._segments.values() for sink in pair)]
        for sink in sinks:
            sink.end_layer(kind, layer)

    def values(self, texts: Texts) -> Values:
        """Each measure of each head, the mean over these texts; rounded, as what is beyond depends on threads."""
        return self._of(texts, of_even=False)

    def even(self, texts: Texts) -> Values:
        """The same of even attention, for every head."""
        return self._of(texts, of_even=True)

    def _of(self, texts: Texts, of_even: bool) -> Values:
        if (texts, of_even) not in self._found:
            found = _by_place(self._even if of_even else self._own, texts)
            if texts in self._segments:
                masses = self._segments[texts][int(of_even)].result()
                found[SEGMENT_MASS] = {place: round(mean, DIGITS) for place, (mean, _) in masses.items()}
            spread = {name: self._for_all(values) for name, values in found.items()} if of_even else found
            self._found[texts, of_even] = spread
        return self._found[texts, of_even]

    def _for_all(self, values: Mapping[Place, float]) -> Mapping[Place, float]:
        """Of a head for which nothing was measured, what the first one of its layer has."""
        spread: dict[Place, float] = {}
        for (kind, layer), heads in self._heads.items():
            first = next((value for place, value in values.items() if place[:2] == (kind, layer)), np.nan)
            spread |= {(kind, layer, head): values.get((kind, layer, head), first) for head in heads}
        return spread


def _by_place(measure: Measure, texts: Texts) -> dict[str, Mapping[Place, float]]:
    found: dict[str, Mapping[Place, float]] = {}
    for name, scores in measure.means_over(texts).items():
        places = zip(*(scores.coords[each][1].tolist() for each in ("kind", "layer", "head")), strict=True)
        found[name] = dict(zip(places, np.round(scores.values, DIGITS).tolist(), strict=True))
    return found


def _undivided(one: Input) -> Input:
    return replace(one, source=replace(one.source, segments=("",) * len(one.source)))


def measure_verdict(bound: BoundMeasure, measures: Measures, tolerance: float) -> Verdict:
    """Is a measure of some head (or of every one) within its limits, or its class the one asked for?"""
    values, beside = measures.values(bound.texts), measures.even(bound.texts)
    rule = bound.rule
    if isinstance(rule, BudgetRule):
        number, inside = rule.metric, _budget_margins(rule, bound.heads, values, tolerance)
    else:
        number = "diagonal" if rule.of in OFFSETS else CLASS_NUMBERS[rule.of]
        inside = _class_margins(rule, bound.heads, (values, beside), _shifted(Thresholds(), tolerance))
    if np.isnan(inside).all():
        raise rule.part.error((), f"{number} is undefined in what the rule is about (attncli explain {number})")
    over = rule.heads.quantifier
    at = pick(inside, over, tolerance)
    place, met = bound.heads[at], int((inside >= 0).sum())
    found, chance = _value(values, number, place), _value(beside, number, place)
    holds = kept(inside, over)
    more = f"; {met} of {len(inside)} heads hold" if len(inside) > 1 else ""
    has = f"{number} {found:.3f}{_offset(rule, values, place)}"
    even_has = "" if np.isnan(chance) else f", even attention {chance:.3f}"
    why = f"head {place[1]}.{place[2]} has {has}{even_has}{more}"
    shown: dict[str, Any] = {**where(bound.heads, at), "text": bound.texts[0], "heads": len(inside), "met": met}
    shown |= {"found": found, "chance": None if np.isnan(chance) else chance}
    sort: Any = "budget" if isinstance(rule, BudgetRule) else "class"
    return Verdict(rule.name, sort, holds, rule.line, _wanted(rule), why, **shown)


def _wanted(rule: BudgetRule | ClassRule) -> str:
    heads = said(rule.heads)
    if isinstance(rule, BudgetRule):
        return f"{wanted_of(rule.metric, rule.limits)} in {heads}"
    if not rule.wanted and heads.startswith("every head"):
        return f"{heads.replace('every head', 'no head', 1)} is {rule.of}"
    return f"{heads} is {'' if rule.wanted else 'not '}{rule.of}"


def _offset(rule: Rule, values: Values, place: Place) -> str:
    if isinstance(rule, ClassRule) and rule.of in (*OFFSETS, "diagonal"):
        return f" at offset {_value(values, 'diagonal_offset', place):+.0f}"
    return ""


def _value(values: Values, name: str, place: Place) -> float:
    return values.get(name, {}).get(place, np.nan)


def _budget_margins(rule: BudgetRule, heads: Sequence[Place], values: Values, tolerance: float) -> Array:
    """[head] how far each value is within its limits, negative outside of them, NaN where it is undefined."""
    found = np.array([_value(values, rule.metric, place) for place in heads])
    smallest: Array = np.min([margins(found, sign, limit, tolerance) for sign, limit in rule.limits], axis=0)
    return np.where(np.isnan(found), np.nan, smallest)


def _shifted(at: Thresholds, tolerance: float) -> Thresholds:
    """Return the thresholds with the tolerance: values within it reach those with >=, and fail those with < and >."""
    lower = {name: round(getattr(at, name) - tolerance, 9) for name in ("vertical", "diagonal", "local", "block")}
    return replace(at, **lower, sparse=round(at.sparse - tolerance, 9), uniform=round(at.uniform + tolerance, 9))


def _class_margins(
    rule: ClassRule, heads: Sequence[Place], found: tuple[Values, Values], thresholds: Thresholds
) -> Array:
    """[head] how clearly each is as asked, negative where it is not, NaN where what decides is undefined."""
    scores = np.array([_clearly(rule.of, place, found, thresholds) for place in heads])
    return scores if rule.wanted else -scores


def _clearly(of: str, place: Place, found: tuple[Values, Values], thresholds: Thresholds) -> float:
    """Above 0: how clearly the head bears the class; below: it does not, the less the further it is from it."""
    values, beside = found
    number = _value(values, "diagonal" if of in OFFSETS else CLASS_NUMBERS[of], place)
    if np.isnan(number):
        return np.nan
    numbers = {name: _value(values, name, place) for name in NUMBERS}
    numbers[UNIFORM_SEGMENT] = _value(beside, SEGMENT_MASS, place)
    borne = verdicts(numbers, thresholds)
    if of in OFFSETS:
        at_offset = abs(numbers["diagonal_offset"] - OFFSETS[of]) <= 0.5
        borne = {of: borne["diagonal"]} if "diagonal" in borne and at_offset else {}
    if of in borne:
        return borne[of] + _LEAST
    return -2 + (-number if of in _LOW else number)
