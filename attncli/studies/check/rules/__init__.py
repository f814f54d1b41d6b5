"""Reader of the file of `attncli check`: texts, rules in their long and short forms, suites and a baseline.

`sections` is the schema of the file, `kinds` has the classes of rules, `phrases` reads heads and rules in one line.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from attncli.data import Text
from attncli.errors import UsageError, did_you_mean
from attncli.inputs.text_files import check_text
from attncli.inputs.texts import jsonl_rows
from attncli.inputs.yaml_file import Document, FilePosition, validate
from attncli.studies.check.rules import kinds, sections
from attncli.studies.check.rules.phrases import candidates, describe_heads, rule_of_line
from attncli.studies.check.rules.trends import is_trend, trend_of_line


def read_rules(document: Document, section: sections.RulesSection) -> kinds.RuleFile:
    """Return the rules of a file that fits the schema; raise UsageError with line and column if a value is wrong."""
    texts = {name: kinds.read_text(document.part("texts", name), value) for name, value in section.texts.items()}
    rules = tuple(_rule(document.part("rules", index), texts) for index in range(len(section.rules)))
    suites = tuple(_suite(document.part("suites", index), suite) for index, suite in enumerate(section.suites))
    baseline = None if section.baseline is None else _baseline(document.part("baseline"), section.baseline)
    if not (rules or suites or baseline):
        raise document.error((), "there is nothing to check: expected rules, suites or baseline")
    rule_texts = [rule.text for rule in rules if rule.text is not None]
    measured = tuple(dict.fromkeys([*texts.values(), *rule_texts]))
    return kinds.RuleFile(document, measured, rules, suites, baseline, section.tolerance)


def _rule(part: Document, texts: Mapping[str, Text]) -> kinds.Rule:
    values = part.values
    if isinstance(values, str):
        return trend_of_line(part, values) if is_trend(values) else rule_of_line(part, values)
    if not isinstance(values, dict) or not values:
        raise part.error((), "expected a rule: keys and values, or a line such as 'sink < 0.9'")
    if {"from", "to", "than"} & values.keys():
        return _attention(part, validate(part, sections.AttentionSection), texts)
    if {"is", "is-not"} & values.keys():
        return _class(part, validate(part, sections.ClassSection), texts)
    if "trend" in values:
        return _trend(part, validate(part, sections.TrendSection), texts)
    return _budget(part, texts)


def _rule_text(part: Document, section: Any, texts: Mapping[str, Text]) -> Text | None:
    if section.text is None:
        return None
    if isinstance(part.values["text"], str) and part.values["text"] in texts:
        return texts[part.values["text"]]
    return kinds.read_text(part.part("text") if isinstance(part.values["text"], dict) else part, section.text)


def _attention(part: Document, section: sections.AttentionSection, texts: Mapping[str, Text]) -> kinds.AttentionRule:
    text = _rule_text(part, section, texts)
    if text is None:
        if len(texts) != 1:
            raise part.error((), "the key 'text' is missing: a rule about words is about one text")
        text = next(iter(texts.values()))
    if section.min is None and section.max is None and section.than is None and section.above is None:
        raise part.error((), "the rule demands nothing: give min, max, than or above")
    if section.min is not None and section.max is not None and section.min > section.max:
        message = f"min {section.min:g} is larger than max {section.max:g}: no weight can satisfy both"
        raise part.error(("min",), message)
    heads = kinds.with_position(part, ("heads",), lambda: candidates(section.heads, "any"))
    above = kinds.parse_percentile(part, section.above)
    name = section.name or f"{section.from_} → {section.to}"
    demands = (section.than, section.min, section.max, above)
    return kinds.AttentionRule(part, name, text, section.kind, heads, section.from_, section.to, *demands)


def _class(part: Document, section: sections.ClassSection, texts: Mapping[str, Text]) -> kinds.ClassRule:
    if (section.is_ is None) == (section.is_not is None):
        raise part.error((), "expected one of is and is-not")
    wanted = section.is_ is not None
    head_class = section.is_ if section.is_ is not None else str(section.is_not)
    kinds.with_position(part, ("is" if wanted else "is-not",), lambda: kinds.check_class(head_class))
    heads = kinds.with_position(part, ("heads",), lambda: candidates(section.heads, "all"))
    name = section.name or f"{describe_heads(heads)} is {'' if wanted else 'not '}{head_class}"
    text = _rule_text(part, section, texts)
    return kinds.check_textless(kinds.ClassRule(part, name, text, section.kind, heads, head_class, wanted))


def _trend(part: Document, section: sections.TrendSection, texts: Mapping[str, Text]) -> kinds.TrendRule:
    text = _rule_text(part, section, texts)
    return kinds.check_textless(trend_of_line(part, section.trend, name=section.name, text=text, kind=section.kind))


def _budget(part: Document, texts: Mapping[str, Text]) -> kinds.BudgetRule:
    metrics = [key for key in part.values if key in kinds.measure_names()]
    options = [field.alias or name for name, field in sections.BudgetSection.model_fields.items()]
    unknown = [key for key in part.values if key not in metrics and key not in options]
    if unknown or not metrics:
        known = [
            *options,
            *kinds.measure_names(),
            *("from", "to", "than", "is", "is-not", "trend", "heads", "min", "max"),
        ]
        key = unknown[0] if unknown else next(iter(part.values))
        hint = did_you_mean(key, known) if unknown else ""
        if not hint.startswith("did"):
            hint = "expected from and to, is, trend, or the name of a measure (attncli explain rules)"
        raise part.error((key,), f"unknown key '{key}': {hint}" if unknown else f"no rule: {hint}", at_key=True)
    if len(metrics) > 1:
        raise part.error((metrics[1],), "a rule is about one measure: write a second rule", at_key=True)
    metric = kinds.with_position(part, (metrics[0],), lambda: kinds.check_measure(metrics[0]))
    rest = replace(part, values={key: value for key, value in part.values.items() if key in options})
    section, limits = validate(rest, sections.BudgetSection), validate(part.part(metric), sections.LimitsSection)
    bounds = tuple((sign, value) for sign, value in ((">=", limits.min), ("<=", limits.max)) if value is not None)
    if not bounds:
        raise part.error((metric,), "the rule demands nothing: give min, max or both")
    heads = kinds.with_position(part, (metric, "heads"), lambda: candidates(limits.heads, "all"))
    name = section.name or f"{kinds.describe_limits(metric, bounds)} in {describe_heads(heads)}"
    text = _rule_text(part, section, texts)
    return kinds.check_textless(kinds.BudgetRule(part, name, text, section.kind, heads, metric, bounds))


def _baseline(part: Document, section: sections.BaselineSection) -> kinds.BaselineRule:
    metrics = {}
    for name, tolerance in section.metrics.items():
        kinds.with_position(part, ("metrics", name), lambda name=name: kinds.check_metric(name))  # type: ignore[misc]
        absolute = section.absolute if tolerance.absolute is None else tolerance.absolute
        metrics[name] = absolute, section.relative if tolerance.relative is None else tolerance.relative
    path = None if section.file is None else part.folder / section.file
    return kinds.BaselineRule(part, path, section.absolute, section.relative, metrics)


def _suite(part: Document, section: sections.SuiteSection) -> kinds.SuiteRule:
    """Return a suite with its cases; raise UsageError with the position in both files if a case is wrong."""
    above = kinds.parse_percentile(part, section.above)
    if section.min_rate is None and above is None:
        raise part.error((), "the suite demands nothing: give min-rate, above or both")
    path = Path(section.file)
    cases = tuple(kinds.with_position(part, ("file",), lambda: list(_suite_cases(path, section.min is not None))))
    heads = kinds.with_position(part, ("heads",), lambda: candidates(section.heads, "any"))
    name = section.name or path.stem
    return kinds.SuiteRule(part, name, None, section.kind, heads, cases, section.min, section.min_rate, above)


def _suite_cases(path: Path, has_least: bool) -> Iterator[kinds.CaseRule]:
    units: dict[str, int] = {}
    count = 0
    for count, (row, number) in enumerate(jsonl_rows(path, "with text, from and to"), start=1):
        part = Document(str(path), row, {(): FilePosition(number, 1)})
        section = validate(part, sections.CaseSection)
        if section.than is None and not has_least:
            raise part.error((), "the case demands nothing: give than, or give the suite a min")
        text = kinds.read_text(part, sections.TextSection(text=section.text, target=section.target))
        check_text(f"{path}, line {number}", text.text + (text.target or ""))
        unit = count if section.pair is None else units.setdefault(section.pair, count)
        yield kinds.CaseRule(part, text, section.from_, section.to, section.than, section.pair, unit)
    if not count:
        raise UsageError(f"{path} holds no cases: expected a JSON object with text, from and to in each line")
