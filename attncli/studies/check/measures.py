"""Verdicts on measures of heads: budgets, and rules about classes of heads."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from attncli import registry
from attncli.data import Array, Input, Scores, Selection
from attncli.stream import Measure, SinkGroup
from attncli.stream.segment_mass import SegmentMass, numbered_segments
from attncli.stream.weights import UniformBaseline
from attncli.studies.check.bound import BoundMeasure, HeadKey, TextIndices, decisive_head, head_fields, rule_holds
from attncli.studies.check.result import OFFSETS, RETRIEVAL, Verdict
from attncli.studies.check.rules.kinds import BudgetRule, ClassRule, describe_limits
from attncli.studies.check.rules.phrases import describe_heads
from attncli.studies.check.weights import DIGITS, SMALLEST_MARGIN, margins
from attncli.studies.patterns.classes import (
    BEYOND_UNIFORM,
    UNIFORM_NUMBERS,
    HeadNumbers,
    least_value,
    too_short,
    verdicts,
)
from attncli.studies.patterns.numbers import SEGMENT_MASS, class_metrics
from attncli.studies.patterns.options import Thresholds
from attncli.studies.patterns.result import CLASS_NUMBERS, NUMBERS, head_keys

_RETRIEVAL_NOTE = ("retrieval_positional", "retrieval_most", "written")
Values = Mapping[str, Mapping[HeadKey, float]]
"""Value of each measure for each head."""


class Measures(SinkGroup):
    """A sink that measures each text, for the real weights and for uniform attention.

    metrics  metrics of the baseline; those of the rules are added
    needed   whether there is anything to measure
    """

    def __init__(
        self, bound: Sequence[BoundMeasure], metrics: Sequence[str], inputs: Sequence[Input], heads: Selection
    ) -> None:
        class_texts = {measured.data for measured in bound if isinstance(measured.rule, ClassRule)}
        names = [*metrics, *(measured.rule.metric for measured in bound if isinstance(measured.rule, BudgetRule))]
        of_rules = [registry.module("metrics", name).METRIC for name in names]
        of_classes = class_metrics() if class_texts else []
        declared = list({metric.name: metric for metric in (*of_rules, *of_classes)}.values())
        self._heads, self.needed = heads, bool(declared)
        self._real, self._uniform = (Measure(declared, per_text=True, heads=heads) for _ in range(2))
        self._values: dict[tuple[TextIndices, bool], Values] = {}
        self._shares: dict[TextIndices, Mapping[str, Scores]] = {}
        self._segments: dict[TextIndices, tuple[SegmentMass, SegmentMass]] = {}
        for texts in class_texts:
            divided = [text if text.index in texts else _without_segments(text) for text in inputs]
            if any(numbered_segments(text.source) is not None for text in divided):
                self._segments[texts] = SegmentMass(divided), SegmentMass(divided)
        uniform = SinkGroup(self._uniform, *(uniform for _, uniform in self._segments.values()))
        super().__init__(self._real, *(real for real, _ in self._segments.values()), UniformBaseline(uniform, heads))

    def values(self, texts: TextIndices, uniform: bool = False) -> Values:
        """Return each measure of each head, or of uniform attention, as the mean over texts with 6 decimals."""
        if (texts, uniform) not in self._values:
            values = _values_by_head(self._uniform if uniform else self._real, texts)
            if texts in self._segments:
                masses = self._segments[texts][int(uniform)].result()
                values[SEGMENT_MASS] = {key: round(mean, DIGITS) for key, (mean, _) in masses.items()}
            if uniform:
                values = {name: self._spread_over_heads(of_heads) for name, of_heads in values.items()}
            self._values[texts, uniform] = values
        return self._values[texts, uniform]

    def class_numbers(self, texts: TextIndices, key: HeadKey) -> HeadNumbers:
        """Return the numbers of a head that the rules of the classes need, over some texts."""
        real, uniform = self.values(texts), self.values(texts, uniform=True)
        numbers = {name: _value(real, name, key) for name in NUMBERS}
        numbers |= {f"{name}_uniform": _value(uniform, name, key) for name in UNIFORM_NUMBERS}
        if texts not in self._shares:
            self._shares[texts] = self._real.shares_over(texts)
        shares = self._shares[texts]
        row = head_keys(shares["diagonal_offset"]).index(key)
        coords = shares["diagonal_offset"].coords
        return {
            **numbers,
            "diagonal_offset_share": float(shares["diagonal_offset"].values[row]),
            "tokens": coords["queries"][1][row] / coords["texts"][1][row],
        }

    def _spread_over_heads(self, values: Mapping[HeadKey, float]) -> Mapping[HeadKey, float]:
        """Return values of all heads: a head without one gets that of the first measured head of its layer."""
        spread: dict[HeadKey, float] = {}
        for (kind, layer), heads in self._heads.items():
            first = next((value for key, value in values.items() if key[:2] == (kind, layer)), np.nan)
            spread |= {(kind, layer, head): values.get((kind, layer, head), first) for head in heads}
        return spread


def _values_by_head(measure: Measure, texts: TextIndices) -> dict[str, Mapping[HeadKey, float]]:
    values: dict[str, Mapping[HeadKey, float]] = {}
    for name, scores in measure.means_over(texts).items():
        values[name] = dict(zip(head_keys(scores), np.round(scores.values, DIGITS).tolist(), strict=True))
    return values


def _without_segments(text: Input) -> Input:
    return replace(text, source=replace(text.source, segments=("",) * len(text.source)))


def measure_verdict(bound: BoundMeasure, measures: Measures, tolerance: float) -> Verdict:
    """Return whether a measure is within its limits, or a class as the rule demands, in any head or in every head."""
    rule = bound.rule
    values, uniform_values = measures.values(bound.data), measures.values(bound.data, uniform=True)
    if isinstance(rule, BudgetRule):
        head_margins = limit_margins(bound, rule, values, tolerance)
        return verdict_on(bound, rule.metric, head_margins, tolerance, values, uniform_values)
    return _class_verdict(rule, bound, measures, tolerance)


def _class_verdict(rule: ClassRule, bound: BoundMeasure, measures: Measures, tolerance: float) -> Verdict:
    """Return whether heads have a class; raise UsageError if the text is too short to tell."""
    values, uniform_values = measures.values(bound.data), measures.values(bound.data, uniform=True)
    name = "diagonal" if rule.of in OFFSETS else rule.of
    number, thresholds = CLASS_NUMBERS[name], _with_tolerance(Thresholds(), tolerance)
    numbers = [measures.class_numbers(bound.data, key) for key in bound.heads]
    if all(name in too_short(of_head, thresholds) for of_head in numbers):
        chance = _value(uniform_values, number, bound.heads[0])
        raise rule.part.error(
            (),
            f"a text of {numbers[0]['tokens']:g} tokens is too short to tell whether a head is {rule.of}: uniform "
            f"attention has {number} {chance:.3f}; give a longer text",
        )
    scores = np.array([_class_margin(rule.of, of_head, thresholds) for of_head in numbers])
    verdict = verdict_on(bound, number, scores if rule.wanted else -scores, tolerance, values, uniform_values)
    if name not in BEYOND_UNIFORM:
        return verdict
    decisive = next(row for row, key in enumerate(bound.heads) if key == (verdict.kind, verdict.layer, verdict.head))
    return replace(verdict, why=f"{verdict.why}; {name} needs {least_value(name, numbers[decisive], Thresholds()):.3f}")


def limit_margins(bound: BoundMeasure, rule: BudgetRule, values: Values, tolerance: float) -> Array:
    """Return how far the measure of each head [head] is within the limits of a budget."""
    measured = column(values, rule.metric, bound.heads)
    return np.asarray(np.min([margins(measured, sign, limit, tolerance) for sign, limit in rule.limits], axis=0))


def verdict_on(
    bound: BoundMeasure, number: str, head_margins: Array, tolerance: float, values: Values, uniform_values: Values
) -> Verdict:
    """Return the verdict on a rule by the margin of each head; `number`: the measure that the reason names."""
    rule, over, line = bound.rule, bound.rule.heads.quantifier, bound.rule.part.position.line
    if np.isnan(head_margins).all():
        raise rule.part.error((), f"{number} is undefined for these heads and texts (attncli explain {number})")
    key, met = bound.heads[decisive_head(head_margins, over, tolerance)], int((head_margins >= 0).sum())
    value, chance = _value(values, number, key), _value(uniform_values, number, key)
    why = f"head {key[1]}.{key[2]} has {number} {value:.3f}{_note(rule, number, values, key)}"
    why += "" if np.isnan(chance) else f", uniform attention {chance:.3f}"
    why += f"; {met} of {len(head_margins)} heads hold" if len(head_margins) > 1 else ""
    text = bound.data[0] if bound.data else None
    fields: dict[str, Any] = {**head_fields(key), "text": text, "heads": len(head_margins), "met": met}
    fields |= {"found": value, "chance": None if np.isnan(chance) else chance}
    sort: Any = "budget" if isinstance(rule, BudgetRule) else "class"
    return Verdict(rule.name, sort, rule_holds(head_margins, over), line, _wanted(rule), why, **fields)


def _wanted(rule: BudgetRule | ClassRule) -> str:
    heads = describe_heads(rule.heads)
    if isinstance(rule, BudgetRule):
        return f"{describe_limits(rule.metric, rule.limits)} in {heads}"
    if not rule.wanted and heads.startswith("every head"):
        return f"{heads.replace('every head', 'no head', 1)} is {rule.of}"
    return f"{heads} is {'' if rule.wanted else 'not '}{rule.of}"


def _note(rule: BudgetRule | ClassRule, number: str, values: Values, key: HeadKey) -> str:
    """Return what belongs to the number of a head: the offset of a diagonal, or the baselines of a score."""
    if number == RETRIEVAL:
        positional, most, written = (_value(values, name, key) for name in _RETRIEVAL_NOTE)
        by_position = "" if np.isnan(positional) else f"{positional:.3f} by position alone, "
        return f" ({by_position}at most {most:.3f} of {written:g} written tokens)"
    if isinstance(rule, ClassRule) and rule.of in (*OFFSETS, "diagonal"):
        return f" at offset {_value(values, 'diagonal_offset', key):+.0f}"
    shuffled = _value(values, f"{number}_shuffled", key)
    return "" if np.isnan(shuffled) else f" ({shuffled:.3f} on shuffled tokens)"


def column(values: Values, name: str, heads: Sequence[HeadKey]) -> Array:
    """Return a measure of some heads [head]; NaN where it is undefined."""
    return np.array([_value(values, name, key) for key in heads])


def _value(values: Values, name: str, key: HeadKey) -> float:
    return values.get(name, {}).get(key, np.nan)


def _with_tolerance(thresholds: Thresholds, tolerance: float) -> Thresholds:
    """Return shifted thresholds: a value within the tolerance of one reaches it for >=, and misses it for < and >."""
    names = ("vertical", "diagonal", "local", "block", "margin")
    lower = {name: round(getattr(thresholds, name) - tolerance, 9) for name in names}
    sparse, uniform = round(thresholds.sparse - tolerance, 9), round(thresholds.uniform + tolerance, 9)
    return replace(thresholds, **lower, sparse=sparse, uniform=uniform)


def _class_margin(name: str, numbers: HeadNumbers, thresholds: Thresholds) -> float:
    """Return how clearly a head is of a class: above 0 if it is, else below 0 and lower the further away it is.

    It is NaN where the class is undefined, or where the texts are too short to tell.
    """
    number = numbers["diagonal" if name in OFFSETS else CLASS_NUMBERS[name]]
    if np.isnan(number) or ("diagonal" if name in OFFSETS else name) in too_short(numbers, thresholds):
        return np.nan
    classes = verdicts(numbers, thresholds)
    if name in OFFSETS:
        at_offset = numbers["diagonal_offset"] == OFFSETS[name]
        classes = {name: classes["diagonal"]} if "diagonal" in classes and at_offset else {}
    if name in classes:
        return classes[name] + SMALLEST_MARGIN
    # the number of a sparse head is low, those of all other classes are high
    return -2 + (-number if name == "sparse" else number)
