"""Rules as they were read: what each asks, and where it stands in its file."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from attncli import registry
from attncli.data import Kind, Text
from attncli.errors import UsageError, did_you_mean
from attncli.inputs.yaml_file import Document, KeyPath
from attncli.studies.check.result import OFFSETS, TOLERANCE, Candidates
from attncli.studies.check.rules.sections import TextSection
from attncli.studies.patterns.result import CLASSES


@dataclass(frozen=True, eq=False)
class Rule:
    """What all rules have: their place in the file, a name, whose attention, of which heads.

    text  None: all texts of the file
    """

    part: Document
    name: str
    text: Text | None
    kind: Kind | None
    heads: Candidates

    @property
    def line(self) -> int:
        """Where it stands."""
        return self.part.position.line


@dataclass(frozen=True, eq=False)
class AttentionRule(Rule):
    """From a word to another, perhaps more than to a third; `above` a percentile of permuted keys."""

    from_: str
    to: str
    than: str | None
    least: float | None
    most: float | None
    above: float | None


@dataclass(frozen=True, eq=False)
class BudgetRule(Rule):
    """Limits of a measure: pairs of <, <=, > or >= and a number."""

    metric: str
    limits: tuple[tuple[str, float], ...]


@dataclass(frozen=True, eq=False)
class ClassRule(Rule):
    """Whether heads are of a class, or (`wanted` false) are not."""

    of: str
    wanted: bool


@dataclass(frozen=True, eq=False)
class CaseRule:
    """One case of a suite; cases of one `unit` hold together only."""

    part: Document
    text: Text
    from_: str
    to: str
    than: str | None
    pair: str | None
    unit: int

    @property
    def line(self) -> int:
        """Where it stands in the file of cases."""
        return self.part.position.line


@dataclass(frozen=True, eq=False)
class SuiteRule(Rule):
    """Cases, and the share of them that must hold."""

    cases: tuple[CaseRule, ...]
    least: float | None
    rate: float | None
    above: float | None


@dataclass(frozen=True, eq=False)
class BaselineRule:
    """A file of recorded numbers, and how far today's may be from them.

    path     None where the file of rules names none
    metrics  those named, with their absolute and relative tolerance
    """

    part: Document
    path: Path | None
    absolute: float
    relative: float
    metrics: Mapping[str, tuple[float, float]]


@dataclass(frozen=True, eq=False)
class RuleFile:
    """A whole file, checked as far as that goes without a model.

    part       the whole
    texts      those that are named, and those that rules bring, each once: what budgets and baselines measure
    tolerance  a value within the tolerance of a limit counts as equal to it
    """

    part: Document
    texts: tuple[Text, ...]
    rules: tuple[Rule, ...]
    suites: tuple[SuiteRule, ...]
    baseline: BaselineRule | None
    tolerance: float = TOLERANCE


def wanted_of(metric: str, limits: tuple[tuple[str, float], ...]) -> str:
    """Limits in words: `entropy <= 3.5`."""
    return " and ".join(f"{metric} {sign} {limit:g}" for sign, limit in limits)


Made = TypeVar("Made")


def placed(part: Document, way: KeyPath, make: Callable[[], Made]) -> Made:
    """What is made, its errors with their place."""
    try:
        return make()
    except UsageError as error:
        raise part.error(way, str(error)) from None


def known_class(name: str) -> str:
    """The same; a class that does not exist is a `UsageError` with close names."""
    known = (*CLASSES, *OFFSETS)
    if name not in known:
        raise UsageError(f"unknown class of heads '{name}': {did_you_mean(name, known)}")
    return name


def known_metric(name: str) -> str:
    """The same; a metric that does not exist, or that whole heads do not have, is a `UsageError`."""
    known = registry.names("metrics")
    if name not in known:
        raise UsageError(f"unknown metric '{name}': {did_you_mean(name, known)}")
    if registry.module("metrics", name).METRIC.per_key:
        raise UsageError(f"{name} has a value for every key and none for a whole head: name another metric")
    return name


def percentile(part: Document, asked: str | None) -> float | None:
    """The percentile that `above` asks for; None where it is not there."""
    if asked is None:
        return None
    match = re.fullmatch(r"permutation\s+(\d+(?:\.\d+)?)", asked.strip())
    if match is None or not 0 < float(match[1]) < 100:
        raise part.error(("above",), f"expected 'above' like permutation 95, a percentile, got '{asked}'")
    return float(match[1])


def text_of(part: Document, section: TextSection) -> Text:
    """A text of a file; an empty one is a `UsageError`."""
    for name, value in (("text", section.text), ("pair", section.pair), ("target", section.target)):
        if value is not None and not value.strip():
            raise part.error((name,), f"the {name} is empty: give at least one word")
    return Text(section.text, section.pair, section.target)
