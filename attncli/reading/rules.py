"""The file of `attncli check`: texts, rules in their long and short forms, suites, a baseline."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, Field

from attncli import registry
from attncli.data import CLASSES, OFFSETS, Candidates, Kind, Text
from attncli.errors import UsageError, did_you_mean
from attncli.reading.heads import candidates, said
from attncli.reading.lines import check_there, valid_text
from attncli.reading.schema import Listed, Section, checked
from attncli.reading.tables import jsonl_rows
from attncli.reading.yaml import Document, Place

Number = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Tolerance = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Word = Annotated[str, BeforeValidator(lambda value: str(value) if type(value) is int else value)]


class TextSection(Section):
    """A text, perhaps with a second segment or with what the decoder reads."""

    text: str
    pair: str | None = None
    target: str | None = None


TextValue = Annotated[TextSection, BeforeValidator(lambda value: {"text": value} if isinstance(value, str) else value)]


class AttentionSection(Section):
    """Some head looks from one word to another."""

    name: str | None = None
    text: TextValue | None = None
    kind: Kind | None = None
    heads: Listed = Field(default=["any"])
    from_: str = Field(alias="from")
    to: str
    than: str | None = None
    min: Share | None = None
    max: Share | None = None
    above: str | None = None


class LimitsSection(Section):
    """Within which limits a measure must be."""

    heads: Listed = Field(default=["all"])
    min: Number | None = None
    max: Number | None = None


class BudgetSection(Section):
    """What stands beside the name of the measure."""

    name: str | None = None
    text: TextValue | None = None
    kind: Kind | None = None


class ClassSection(Section):
    """Heads are of a class, or are not."""

    name: str | None = None
    text: TextValue | None = None
    kind: Kind | None = None
    heads: Listed = Field(default=["all"])
    is_: str | None = Field(None, alias="is")
    is_not: str | None = Field(None, alias="is-not")


class SuiteSection(Section):
    """Many cases in a file of their own, and how many must hold."""

    file: str
    name: str | None = None
    kind: Kind | None = None
    heads: Listed = Field(default=["any"])
    min: Share | None = None
    min_rate: Share | None = Field(None, alias="min-rate")
    above: str | None = None


class CaseSection(Section):
    """One line of such a file."""

    text: str
    from_: _Word = Field(alias="from")
    to: _Word
    than: _Word | None = None
    pair: _Word | None = None
    target: str | None = None


class MeasureTolerance(Section):
    """How far one measure may drift."""

    absolute: Tolerance | None = None
    relative: Tolerance | None = None


class BaselineSection(Section):
    """Numbers that were recorded, and how far today's may be from them."""

    file: str | None = None
    absolute: Tolerance = 0.01
    relative: Tolerance = 0.05
    metrics: dict[str, MeasureTolerance] = Field(default={})


class RulesSection(Section):
    """All keys of the file that are not options."""

    texts: dict[str, TextValue] = Field(default={})
    rules: list[Any] = Field(default=[])
    suites: list[SuiteSection] = Field(default=[])
    baseline: BaselineSection | None = None


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
        return self.part.place.line


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
        return self.part.place.line


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

    texts  those that are named, and those that rules bring, each once: what budgets and baselines measure
    """

    texts: tuple[Text, ...]
    rules: tuple[Rule, ...]
    suites: tuple[SuiteRule, ...]
    baseline: BaselineRule | None


def read_rules(document: Document, section: RulesSection) -> RuleFile:
    """The rules of a file whose keys were checked; what cannot be meant is a `UsageError` with line and column."""
    texts = {name: _text(document.part("texts", name), value) for name, value in section.texts.items()}
    rules = tuple(_rule(document.part("rules", at), texts) for at in range(len(section.rules)))
    suites = tuple(_suite(document.part("suites", at), each) for at, each in enumerate(section.suites))
    baseline = None if section.baseline is None else _baseline(document.part("baseline"), section.baseline)
    if not (rules or suites or baseline):
        raise document.error((), "there is nothing to check: expected rules, suites or baseline")
    own = [rule.text for rule in rules if rule.text is not None]
    return RuleFile(tuple(_once([*texts.values(), *own])), rules, suites, baseline)


def _once(texts: list[Text]) -> list[Text]:
    found: list[Text] = []
    for text in texts:
        if text not in found:
            found.append(text)
    return found


def _text(part: Document, section: TextSection) -> Text:
    for name, value in (("text", section.text), ("pair", section.pair), ("target", section.target)):
        if value is not None and not value.strip():
            raise part.error((name,), f"the {name} is empty: give at least one word")
    return Text(section.text, section.pair, section.target)


Made = TypeVar("Made")


def _said(part: Document, way: tuple[str | int, ...], make: Callable[[], Made]) -> Made:
    """What is made, its errors with their place."""
    try:
        return make()
    except UsageError as error:
        raise part.error(way, str(error)) from None


def _rule(part: Document, texts: Mapping[str, Text]) -> Rule:
    values = part.values
    if isinstance(values, str):
        return _short(part, values)
    if not isinstance(values, dict) or not values:
        raise part.error((), "expected a rule: keys and values, or a line such as 'sink < 0.9'")
    if {"from", "to", "than"} & values.keys():
        return _attention(part, checked(part, AttentionSection), texts)
    if {"is", "is-not"} & values.keys():
        return _class(part, checked(part, ClassSection), texts)
    return _budget(part, texts)


def _own_text(part: Document, section: Any, texts: Mapping[str, Text]) -> Text | None:
    if section.text is None:
        return None
    if isinstance(part.values["text"], str) and part.values["text"] in texts:
        return texts[part.values["text"]]
    return _text(part.part("text") if isinstance(part.values["text"], dict) else part, section.text)


def _attention(part: Document, section: AttentionSection, texts: Mapping[str, Text]) -> AttentionRule:
    text = _own_text(part, section, texts)
    if text is None:
        if len(texts) != 1:
            raise part.error((), "the key 'text' is missing: a rule about words is about one text")
        text = next(iter(texts.values()))
    if section.min is None and section.max is None and section.than is None and section.above is None:
        raise part.error((), "the rule asks for nothing: give min, max, than or above")
    if section.min is not None and section.max is not None and section.min > section.max:
        raise part.error(("min",), f"min {section.min:g} is larger than max {section.max:g}: no weight is both")
    heads = _said(part, ("heads",), lambda: candidates(section.heads, "any"))
    above = _above(part, section.above)
    name = section.name or f"{section.from_} → {section.to}"
    asked = (section.than, section.min, section.max, above)
    return AttentionRule(part, name, text, section.kind, heads, section.from_, section.to, *asked)


def _above(part: Document, said_: str | None) -> float | None:
    if said_ is None:
        return None
    match = re.fullmatch(r"permutation\s+(\d+(?:\.\d+)?)", said_.strip())
    if match is None or not 0 < float(match[1]) < 100:
        raise part.error(("above",), f"expected 'above' like permutation 95, a percentile, got '{said_}'")
    return float(match[1])


def _class(part: Document, section: ClassSection, texts: Mapping[str, Text]) -> ClassRule:
    if (section.is_ is None) == (section.is_not is None):
        raise part.error((), "expected one of is and is-not")
    wanted = section.is_ is not None
    name = section.is_ if section.is_ is not None else str(section.is_not)
    _said(part, ("is" if wanted else "is-not",), lambda: _known_class(name))
    heads = _said(part, ("heads",), lambda: candidates(section.heads, "all"))
    called = section.name or f"{said(heads)} is {'' if wanted else 'not '}{name}"
    return ClassRule(part, called, _own_text(part, section, texts), section.kind, heads, name, wanted)


def _known_class(name: str) -> str:
    known = (*CLASSES, *OFFSETS)
    if name not in known:
        raise UsageError(f"unknown class of heads '{name}': {did_you_mean(name, known)}")
    return name


def _known_metric(name: str) -> str:
    known = registry.names("metrics")
    if name not in known:
        raise UsageError(f"unknown metric '{name}': {did_you_mean(name, known)}")
    if registry.module("metrics", name).METRIC.per_key:
        raise UsageError(f"{name} has a value for every key and none for a whole head: name another metric")
    return name


def _budget(part: Document, texts: Mapping[str, Text]) -> BudgetRule:
    metrics = [key for key in part.values if key in registry.names("metrics")]
    beside = [field.alias or name for name, field in BudgetSection.model_fields.items()]
    strange = [key for key in part.values if key not in metrics and key not in beside]
    if strange or not metrics:
        known = [*beside, *registry.names("metrics"), *("from", "to", "than", "is", "is-not", "heads", "min", "max")]
        wrong = strange[0] if strange else next(iter(part.values))
        why = did_you_mean(wrong, known) if strange else ""
        if not why.startswith("did"):
            why = "expected from and to, is, or the name of a measure (attncli explain rules)"
        raise part.error((wrong,), f"unknown key '{wrong}': {why}" if strange else f"no rule: {why}", at_key=True)
    if len(metrics) > 1:
        raise part.error((metrics[1],), "a rule is about one measure: write a second rule", at_key=True)
    metric = _said(part, (metrics[0],), lambda: _known_metric(metrics[0]))
    rest = Document(part.name, {key: part.values[key] for key in part.values if key in beside}, part.places, part.base)
    section, limits = checked(rest, BudgetSection), checked(part.part(metric), LimitsSection)
    asked = tuple((sign, value) for sign, value in ((">=", limits.min), ("<=", limits.max)) if value is not None)
    if not asked:
        raise part.error((metric,), "the rule asks for nothing: give min, max or both")
    heads = _said(part, (metric, "heads"), lambda: candidates(limits.heads, "all"))
    name = section.name or f"{wanted_of(metric, asked)}, {said(heads)}"
    return BudgetRule(part, name, _own_text(part, section, texts), section.kind, heads, metric, asked)


def wanted_of(metric: str, limits: tuple[tuple[str, float], ...]) -> str:
    """Limits in words: `entropy <= 3.5`."""
    return " and ".join(f"{metric} {sign} {limit:g}" for sign, limit in limits)


_KIND = r"(?:(?P<kind>encoder|decoder|cross)\s+)?"
_LIMIT = re.compile(
    _KIND + r"(?P<metric>[\w-]+)\s*(?P<sign><=|>=|<|>)\s*(?P<number>\S+)(?:\s+(?:in|for)\s+(?P<heads>.+))?"
)
_ONE = re.compile(_KIND + r"head\s+(?P<head>-?\d+\.-?\d+)\s+is\s+(?P<no>not\s+)?(?P<of>[\w-]+)")
_HEADS = re.compile(
    _KIND
    + r"(?P<how>no|some|any|every|all)\s+heads?(?:\s+(?P<heads>(?:of|in)\s+.+?))?(?:\s+(?:is|are))?\s+(?P<of>[\w-]+)"
)
_FORMS = "'sink < 0.9', 'no head uniform', 'head 0.2 is previous-token' or 'some head of layer 2-5 is vertical'"


def _short(part: Document, line: str) -> Rule:
    line = " ".join(line.split())
    return _said(part, (), lambda: _of_line(part, line))


def _of_line(part: Document, line: str) -> Rule:
    kind: Any
    if match := _LIMIT.fullmatch(line):
        metric, kind = _known_metric(match["metric"]), match["kind"]
        limits = ((match["sign"], _number(match["number"])),)
        return BudgetRule(part, line, None, kind, candidates([match["heads"] or "all"], "all"), metric, limits)
    if match := _ONE.fullmatch(line):
        heads, kind = candidates([match["head"]], "all"), match["kind"]
        return ClassRule(part, line, None, kind, heads, _known_class(match["of"]), match["no"] is None)
    if match := _HEADS.fullmatch(line):
        no, kind = match["how"] == "no", match["kind"]
        heads = candidates([f"{'all' if no else match['how']} {match['heads'] or ''}".strip()], "all")
        return ClassRule(part, line, None, kind, heads, _known_class(match["of"]), not no)
    raise UsageError(f"expected a rule such as {_FORMS}, got '{line}'")


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not abs(value) < float("inf"):
        raise UsageError(f"expected a number, got '{text}'")
    return value


def _suite(part: Document, section: SuiteSection) -> SuiteRule:
    above = _above(part, section.above)
    if section.min_rate is None and above is None:
        raise part.error((), "the suite asks for nothing: give min-rate, above or both")
    path = beside(part, section.file)
    cases = tuple(_said(part, ("file",), lambda: list(_cases(path, section.min is not None))))
    heads = _said(part, ("heads",), lambda: candidates(section.heads, "any"))
    name = section.name or path.stem
    return SuiteRule(part, name, None, section.kind, heads, cases, section.min, section.min_rate, above)


def beside(part: Document, name: str) -> Path:
    """A file named in another: relative to that one."""
    return Path(part.name).parent / name


def _cases(path: Path, has_least: bool) -> Iterator[CaseRule]:
    check_there(path)
    units: dict[str, int] = {}
    count = 0
    for count, (row, number) in enumerate(jsonl_rows(path, "with text, from and to"), start=1):
        part = Document(str(path), row, {(): Place(number, 1)})
        section = checked(part, CaseSection)
        if section.than is None and not has_least:
            raise part.error((), "the case asks for nothing: give than, or the suite a min")
        text = _text(part, TextSection(text=section.text, target=section.target))
        valid_text(f"{path}, line {number}", text.text + (text.target or ""))
        unit = count if section.pair is None else units.setdefault(section.pair, count)
        yield CaseRule(part, text, section.from_, section.to, section.than, section.pair, unit)
    if not count:
        raise UsageError(f"{path} holds no cases: expected a JSON object with text, from and to in each line")


def _baseline(part: Document, section: BaselineSection) -> BaselineRule:
    metrics = {}
    for name, own in section.metrics.items():
        _said(part, ("metrics", name), lambda name=name: _known_metric(name))  # type: ignore[misc]
        absolute = section.absolute if own.absolute is None else own.absolute
        metrics[name] = absolute, section.relative if own.relative is None else own.relative
    path = None if section.file is None else beside(part, section.file)
    return BaselineRule(part, path, section.absolute, section.relative, metrics)
