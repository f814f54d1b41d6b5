"""The file of `attncli check`: texts, rules in their long and short forms, suites, a baseline.

sections  its shape              lines   rules in one line        heads     which heads are meant
kinds     rules as they are read suites  cases in JSONL files     baseline  recorded numbers
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from attncli import registry
from attncli.data import Text
from attncli.errors import did_you_mean
from attncli.inputs.schema import validate
from attncli.inputs.yaml_file import Document
from attncli.studies.check.rules.heads import candidates, said
from attncli.studies.check.rules.kinds import (
    AttentionRule,
    BaselineRule,
    BudgetRule,
    ClassRule,
    Rule,
    RuleFile,
    known_class,
    known_metric,
    percentile,
    placed,
    text_of,
    wanted_of,
)
from attncli.studies.check.rules.lines import rule_of_line
from attncli.studies.check.rules.sections import (
    AttentionSection,
    BaselineSection,
    BudgetSection,
    ClassSection,
    LimitsSection,
    RulesSection,
)
from attncli.studies.check.rules.suites import read_suite


def read_rules(document: Document, section: RulesSection) -> RuleFile:
    """The rules of a file whose keys were checked; what cannot be meant is a `UsageError` with line and column."""
    texts = {name: text_of(document.part("texts", name), value) for name, value in section.texts.items()}
    rules = tuple(_rule(document.part("rules", at), texts) for at in range(len(section.rules)))
    suites = tuple(read_suite(document.part("suites", at), each) for at, each in enumerate(section.suites))
    baseline = None if section.baseline is None else _baseline(document.part("baseline"), section.baseline)
    if not (rules or suites or baseline):
        raise document.error((), "there is nothing to check: expected rules, suites or baseline")
    own = [rule.text for rule in rules if rule.text is not None]
    measured = tuple(dict.fromkeys([*texts.values(), *own]))
    return RuleFile(document, measured, rules, suites, baseline, section.tolerance)


def _rule(part: Document, texts: Mapping[str, Text]) -> Rule:
    values = part.values
    if isinstance(values, str):
        return rule_of_line(part, values)
    if not isinstance(values, dict) or not values:
        raise part.error((), "expected a rule: keys and values, or a line such as 'sink < 0.9'")
    if {"from", "to", "than"} & values.keys():
        return _attention(part, validate(part, AttentionSection), texts)
    if {"is", "is-not"} & values.keys():
        return _class(part, validate(part, ClassSection), texts)
    return _budget(part, texts)


def _own_text(part: Document, section: Any, texts: Mapping[str, Text]) -> Text | None:
    if section.text is None:
        return None
    if isinstance(part.values["text"], str) and part.values["text"] in texts:
        return texts[part.values["text"]]
    return text_of(part.part("text") if isinstance(part.values["text"], dict) else part, section.text)


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
    heads = placed(part, ("heads",), lambda: candidates(section.heads, "any"))
    above = percentile(part, section.above)
    name = section.name or f"{section.from_} → {section.to}"
    asked = (section.than, section.min, section.max, above)
    return AttentionRule(part, name, text, section.kind, heads, section.from_, section.to, *asked)


def _class(part: Document, section: ClassSection, texts: Mapping[str, Text]) -> ClassRule:
    if (section.is_ is None) == (section.is_not is None):
        raise part.error((), "expected one of is and is-not")
    wanted = section.is_ is not None
    name = section.is_ if section.is_ is not None else str(section.is_not)
    placed(part, ("is" if wanted else "is-not",), lambda: known_class(name))
    heads = placed(part, ("heads",), lambda: candidates(section.heads, "all"))
    called = section.name or f"{said(heads)} is {'' if wanted else 'not '}{name}"
    return ClassRule(part, called, _own_text(part, section, texts), section.kind, heads, name, wanted)


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
    metric = placed(part, (metrics[0],), lambda: known_metric(metrics[0]))
    rest = replace(part, values={key: value for key, value in part.values.items() if key in beside})
    section, limits = validate(rest, BudgetSection), validate(part.part(metric), LimitsSection)
    asked = tuple((sign, value) for sign, value in ((">=", limits.min), ("<=", limits.max)) if value is not None)
    if not asked:
        raise part.error((metric,), "the rule asks for nothing: give min, max or both")
    heads = placed(part, (metric, "heads"), lambda: candidates(limits.heads, "all"))
    name = section.name or f"{wanted_of(metric, asked)} in {said(heads)}"
    return BudgetRule(part, name, _own_text(part, section, texts), section.kind, heads, metric, asked)


def _baseline(part: Document, section: BaselineSection) -> BaselineRule:
    metrics = {}
    for name, own in section.metrics.items():
        placed(part, ("metrics", name), lambda name=name: known_metric(name))  # type: ignore[misc]
        absolute = section.absolute if own.absolute is None else own.absolute
        metrics[name] = absolute, section.relative if own.relative is None else own.relative
    path = None if section.file is None else part.folder / section.file
    return BaselineRule(part, path, section.absolute, section.relative, metrics)
