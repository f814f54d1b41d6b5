"""Classes of rules: what each demands, and its position in the file."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from attncli import registry
from attncli.data import Kind, Text
from attncli.errors import UsageError, did_you_mean
from attncli.inputs.texts import read_chat
from attncli.inputs.yaml_file import Document, KeyPath
from attncli.studies.check.result import OFFSETS, PROBE_CLASSES, RETRIEVAL, TOLERANCE, Candidates
from attncli.studies.check.rules.sections import TextSection
from attncli.studies.patterns.result import CLASSES
from attncli.studies.repeated.result import SCORES

Direction = Literal["rises", "falls", "changes"]
Span = Literal["neighbours", "any", "within", "ends"]
"""Which checkpoints a trend compares: neighbouring ones, any two, any two within some steps, the first and the last."""
RIGIDITY = "rigidity"
"""The measure of trends that needs several texts."""


@dataclass(frozen=True, eq=False)
class Rule:
    """Base class of rules.

    part  position of the rule in its file
    text  text that the rule is about; None for all texts of the file
    kind  kind of attention; None for all kinds of the model
    """

    part: Document
    name: str
    text: Text | None
    kind: Kind | None
    heads: Candidates


@dataclass(frozen=True, eq=False)
class AttentionRule(Rule):
    """A rule about the weight from one word to another.

    than   word to which the weight must be smaller
    above  percentile of permuted keys that the weight must exceed
    """

    from_: str
    to: str
    than: str | None
    least: float | None
    most: float | None
    above: float | None


@dataclass(frozen=True, eq=False)
class BudgetRule(Rule):
    """Limits of a measure: pairs of a sign (<, <=, > or >=) and a number."""

    metric: str
    limits: tuple[tuple[str, float], ...]


@dataclass(frozen=True, eq=False)
class ClassRule(Rule):
    """A rule that heads are of the class `of`, or that they are not if `wanted` is False."""

    of: str
    wanted: bool


@dataclass(frozen=True, eq=False)
class TrendRule(Rule):
    """A rule that a measure does not change by more than `by` from a checkpoint to a later one; or that it does.

    must    whether the change must be there, in any or in all of the heads; else it is an alarm
    mean    whether the mean over the heads is measured
    within  largest number of steps between two checkpoints, for the span `within`
    steps   first and last step of the checkpoints that count; None for no limit
    """

    metric: str
    direction: Direction
    by: float
    must: bool
    mean: bool
    span: Span
    within: int
    steps: tuple[int | None, int | None]


@dataclass(frozen=True, eq=False)
class CaseRule:
    """One case of a suite; a `unit` holds if all its cases hold, and a minimal pair is one unit."""

    part: Document
    text: Text
    from_: str
    to: str
    than: str | None
    pair: str | None
    unit: int


@dataclass(frozen=True, eq=False)
class SuiteRule(Rule):
    """A rule about many cases.

    least  smallest weight to the target in a case
    rate   smallest share of units that hold
    above  percentile of permuted keys that the number of units must exceed
    """

    cases: tuple[CaseRule, ...]
    least: float | None
    rate: float | None
    above: float | None


@dataclass(frozen=True, eq=False)
class BaselineRule:
    """A rule that numbers stay close to a baseline.

    metrics  absolute and relative tolerance of the metrics that have tolerances of their own
    """

    part: Document
    path: Path | None
    absolute: float
    relative: float
    metrics: Mapping[str, tuple[float, float]]


@dataclass(frozen=True, eq=False)
class RuleFile:
    """The contents of a file of rules, checked as far as possible without a model.

    texts      texts of the file and of its rules without repetition, which budgets and baselines measure
    tolerance  a value within the tolerance of a limit counts as equal to it
    """

    part: Document
    texts: tuple[Text, ...]
    rules: tuple[Rule, ...]
    suites: tuple[SuiteRule, ...]
    baseline: BaselineRule | None
    tolerance: float = TOLERANCE


def describe_limits(metric: str, limits: tuple[tuple[str, float], ...]) -> str:
    """Return limits in words: `entropy <= 3.5`."""
    return " and ".join(f"{metric} {sign} {limit:g}" for sign, limit in limits)


ResultT = TypeVar("ResultT")
RuleT = TypeVar("RuleT", bound=Rule)


def with_position(part: Document, key_path: KeyPath, make: Callable[[], ResultT]) -> ResultT:
    """Return `make()`; raise its UsageError with the line and column of a key."""
    try:
        return make()
    except UsageError as error:
        raise part.error(key_path, str(error)) from None


def check_class(name: str) -> str:
    """Return `name`; raise UsageError with similar names if no class of heads has this name."""
    known = (*CLASSES, *OFFSETS, *PROBE_CLASSES, RETRIEVAL)
    if name not in known:
        raise UsageError(f"unknown class of heads '{name}': {did_you_mean(name, known)}")
    return name


def check_metric(name: str) -> str:
    """Return `name`; raise UsageError if no measure has this name or it has no value for a whole head."""
    if name in SCORES:
        return name
    if registry.module("metrics", name).METRIC.per_key:
        raise UsageError(f"{name} has a value for every key and none for a whole head: name another metric")
    return name


def is_category(name: str) -> bool:
    """Return whether a measure is a position or another category, whose difference says nothing."""
    return name not in SCORES and bool(registry.module("metrics", name).METRIC.category)


def check_measure(name: str) -> str:
    """Return `name`; raise UsageError if a budget cannot limit it. Baselines hold no retrieval score, budgets may."""
    return name if name == RETRIEVAL else check_metric(name)


def measure_names() -> tuple[str, ...]:
    """Return the names of all measures: those of texts, the scores on repeated random tokens, and retrieval."""
    return (*registry.names("metrics"), *SCORES, RETRIEVAL)


def needs_probe(rule: Rule) -> bool:
    """Return whether a rule is about repeated random tokens instead of a text."""
    if isinstance(rule, BudgetRule | TrendRule):
        return rule.metric in SCORES
    return isinstance(rule, ClassRule) and rule.of in PROBE_CLASSES


def needs_written(rule: Rule) -> bool:
    """Return whether a rule is about the retrieval score, which only texts have in which the model wrote tokens."""
    if isinstance(rule, BudgetRule):
        return rule.metric == RETRIEVAL
    return isinstance(rule, ClassRule) and rule.of == RETRIEVAL


def check_textless(rule: RuleT) -> RuleT:
    """Return a rule; raise UsageError if it names a text although it is about random tokens."""
    if rule.text is not None and needs_probe(rule):
        raise rule.part.error(
            ("text",), f"'{rule.name}' is about repeated random tokens, not about a text: leave it out"
        )
    return rule


def parse_percentile(part: Document, above: str | None) -> float | None:
    """Return the percentile in `permutation 95`, the value of the key `above`; None for None."""
    if above is None:
        return None
    match = re.fullmatch(r"permutation\s+(\d+(?:\.\d+)?)", above.strip())
    if match is None or not 0 < float(match[1]) < 100:
        raise part.error(("above",), f"expected 'above' like permutation 95, a percentile, got '{above}'")
    return float(match[1])


def read_text(part: Document, section: TextSection) -> Text:
    """Return a text of a file; raise UsageError if it is empty, or if it is both a text and a chat or neither."""
    parts = {"text": section.text, "pair": section.pair, "target": section.target}
    if section.chat is not None:
        if given := [name for name, value in parts.items() if value is not None]:
            raise part.error((given[0],), f"a chat has all of its text in its file: leave out {given[0]}")
        chat = section.chat
        return with_position(part, ("chat",), lambda: read_chat(chat))
    if section.text is None:
        raise part.error((), "the key 'text' is missing")
    for name, value in parts.items():
        if value is not None and not value.strip():
            raise part.error((name,), f"the {name} is empty: give at least one word")
    return Text(section.text, section.pair, section.target)
