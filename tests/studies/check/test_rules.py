"""Files of rules: what each form means, and one line with the place for each thing that is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from attncli.cli.config.rules import file_section
from attncli.data import Text
from attncli.errors import UsageError
from attncli.inputs.yaml_file import read_yaml, validate
from attncli.studies.check.baseline import read_baseline
from attncli.studies.check.result import Candidates
from attncli.studies.check.rules import read_rules
from attncli.studies.check.rules.kinds import AttentionRule, BudgetRule, ClassRule, RuleFile
from attncli.studies.check.rules.phrases import candidates, describe_heads

HEAD = "texts: {mat: The cat sat on the mat.}\nrules:\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "rules.yaml"


def read(file: Path, text: str) -> RuleFile:
    file.write_text(text, encoding="utf-8")
    document = read_yaml(file, {})
    return read_rules(document, validate(document, file_section()))


def rule(file: Path, line: str) -> Any:
    return read(file, f"{HEAD}- {line}").rules[0]


def refused(file: Path, text: str) -> str:
    with pytest.raises(UsageError) as caught:
        read(file, text)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{file}, line ")
    return message.removeprefix(f"{file}, ")


@pytest.mark.parametrize(
    ("phrases", "found", "words"),
    [
        (["any"], Candidates("any"), "some head"),
        (["all"], Candidates("all"), "every head"),
        (["3.1"], Candidates("any", ((3, 3, 1),)), "head 3.1"),
        (["3.10"], Candidates("any", ((3, 3, 10),)), "head 3.10"),
        (["layer 4-8"], Candidates("any", ((4, 8, None),)), "some head of layers 4-8"),
        (["all layer -1"], Candidates("all", ((-1, -1, None),)), "every head of layer -1"),
        (["every head of layer 0"], Candidates("all", ((0, 0, None),)), "every head of layer 0"),
        (["3.1", "layer 5"], Candidates("any", ((3, 3, 1), (5, 5, None))), "some head of 3.1, layer 5"),
        (["all 3.1, 4.2"], Candidates("all", ((3, 3, 1), (4, 4, 2))), "every head of 3.1, 4.2"),
    ],
)
def test_heads_are_named_in_words(phrases: list[str], found: Candidates, words: str) -> None:
    assert candidates(phrases, "any") == found
    assert describe_heads(found) == words


def test_an_attention_rule_says_all_of_it(file: Path) -> None:
    text = "{text: a b c, from: a, to: b, than: c, min: 0.3, max: 0.9, heads: all layer 2, above: permutation 95}"
    found = rule(file, text)
    assert isinstance(found, AttentionRule)
    assert (found.text, found.from_, found.to, found.than) == (Text("a b c"), "a", "b", "c")
    assert (found.least, found.most, found.above, found.name, found.part.position.line) == (0.3, 0.9, 95, "a → b", 3)
    assert found.heads == Candidates("all", ((2, 2, None),))


def test_a_text_is_a_name_of_texts_or_the_text_itself(file: Path) -> None:
    assert rule(file, "{text: mat, from: a, to: b, min: 0}").text == Text("The cat sat on the mat.")
    assert rule(file, "{from: a, to: b, min: 0}").text == Text("The cat sat on the mat.")
    assert rule(file, "{text: {text: a, pair: b}, from: a, to: b, min: 0}").text == Text("a", pair="b")
    whole = read(file, f"{HEAD}- {{text: mat, from: a, to: b, min: 0}}\n- {{text: other, from: a, to: b, min: 0}}")
    assert whole.texts == (Text("The cat sat on the mat."), Text("other"))


@pytest.mark.parametrize(
    ("line", "metric", "limits", "heads", "kind"),
    [
        ("entropy: {heads: all, max: 3.5}", "entropy", (("<=", 3.5),), Candidates("all"), None),
        ("{entropy: {min: 1, max: 3}, kind: cross}", "entropy", ((">=", 1), ("<=", 3)), Candidates("all"), "cross"),
        ("sink < 0.9", "sink", (("<", 0.9),), Candidates("all"), None),
        ("sink>=1e-3", "sink", ((">=", 0.001),), Candidates("all"), None),
        ("cross entropy <= 2 in layer 2-5", "entropy", (("<=", 2),), Candidates("all", ((2, 5, None),)), "cross"),
        ("offset > -3 in any", "offset", ((">", -3),), Candidates("any"), None),
    ],
)
def test_budgets(file: Path, line: str, metric: str, limits: Any, heads: Candidates, kind: str | None) -> None:
    found = rule(file, line)
    assert isinstance(found, BudgetRule)
    assert (found.metric, found.limits, found.heads, found.kind) == (metric, limits, heads, kind)
    assert found.text is None


@pytest.mark.parametrize(
    ("line", "of", "wanted", "heads", "kind"),
    [
        ("no head uniform", "uniform", False, Candidates("all"), None),
        ("no head is uniform", "uniform", False, Candidates("all"), None),
        ("cross no head of layer 1 is uniform", "uniform", False, Candidates("all", ((1, 1, None),)), "cross"),
        ("head 0.2 is previous-token", "previous-token", True, Candidates("all", ((0, 0, 2),)), None),
        ("head 0.2 is not local", "local", False, Candidates("all", ((0, 0, 2),)), None),
        ("some head is vertical", "vertical", True, Candidates("any"), None),
        ("every head of layer 0-1 is local", "local", True, Candidates("all", ((0, 1, None),)), None),
        ("{is: self, heads: any}", "self", True, Candidates("any"), None),
        ("{is-not: self, kind: decoder}", "self", False, Candidates("all"), "decoder"),
    ],
)
def test_classes(file: Path, line: str, of: str, wanted: bool, heads: Candidates, kind: str | None) -> None:
    found = rule(file, line)
    assert isinstance(found, ClassRule)
    assert (found.of, found.wanted, found.heads, found.kind) == (of, wanted, heads, kind)


def test_a_suite_is_read_from_beside_the_file(file: Path) -> None:
    cases = [
        {"pair": 1, "text": "a b", "from": "a", "to": "b", "than": 0},
        {"pair": 1, "text": "b a", "from": "a", "to": "b", "than": "a"},
        {"text": "c d", "from": 0, "to": -1, "than": "c"},
    ]
    lines = [json.dumps(case) for case in cases]
    file.with_name("cases.jsonl").write_text("\n".join([*lines[:2], "", lines[2]]))
    found = read(file, "suites: [{file: cases.jsonl, min-rate: 0.8}]").suites[0]
    assert (found.name, found.rate, found.least, found.above) == ("cases", 0.8, None, None)
    assert [case.part.position.line for case in found.cases] == [1, 2, 4]
    assert [case.unit for case in found.cases] == [1, 1, 3]
    assert (found.cases[2].from_, found.cases[2].to, found.cases[0].than) == ("0", "-1", "0")


def test_a_baseline_has_tolerances_of_its_own_for_some(file: Path) -> None:
    text = "baseline: {file: b.json, absolute: 0.1, metrics: {entropy: {relative: 0.2}, sink_position: {}}}"
    found = read(file, text).baseline
    assert found is not None
    assert (found.path, found.absolute, found.relative) == (file.with_name("b.json"), 0.1, 0.05)
    assert found.metrics == {"entropy": (0.1, 0.2), "sink_position": (0.1, 0.05)}


@pytest.mark.parametrize(
    ("line", "tolerance"),
    [("", 1e-5), ("tolerance: 0\n", 0.0), ("tolerance: 1e-4\n", 1e-4), ("tolerance: 0.1\n", 0.1)],
)
def test_the_tolerance_is_a_key_of_the_file(file: Path, line: str, tolerance: float) -> None:
    assert read(file, f"{line}{HEAD}- sink < 0.9").tolerance == tolerance


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tolerance: -1\nrules: []", "line 1, column 12: expected 'tolerance' to be at least 0.0, got '-1'"),
        ("tolerance: 1\nrules: []", "line 1, column 12: expected 'tolerance' to be at most 0.1, got '1'"),
        ("tolerance: nan\nrules: []", "line 1, column 12: expected 'tolerance' to be a finite number, got 'nan'"),
        ("tolerance: low\nrules: []", "line 1, column 12: expected 'tolerance' to be a number, got 'low'"),
        ("model: demo:encoder", "line 1, column 1: there is nothing to check: expected rules, suites or baseline"),
        ("rules:", "line 1, column 7: expected 'rules' to be a list, got null"),
        ("rules: []", "line 1, column 1: there is nothing to check"),
        ("ruls: []", "line 1, column 1: unknown key 'ruls': did you mean 'rules'?"),
        ("modle: x\nrules: []", "line 1, column 1: unknown key 'modle': did you mean 'model'?"),
        ("text: x", "line 1, column 1: unknown key 'text': did you mean 'texts'?"),
        ("special: dorp", "line 1, column 10: unknown special 'dorp': did you mean 'drop'?"),
        ("max-tokens: many", "line 1, column 13: expected 'max-tokens' to be a whole number, got 'many'"),
        ("texts: {a: ''}\nrules: [sink < 1]", "line 1, column 12: the text is empty: give at least one word"),
        ("texts: {a: {txt: b}}", "line 1, column 13: unknown key 'txt': did you mean 'text'?"),
        (f"{HEAD}- ", "line 3, column 2: expected a rule: keys and values, or a line such as 'sink < 0.9'"),
        (f"{HEAD}- {{}}", "line 3, column 3: expected a rule"),
        (f"{HEAD}- [sink < 1]", "line 3, column 3: expected a rule"),
        (f"{HEAD}- sinc < 0.9", "line 3, column 3: unknown metric 'sinc': did you mean 'sink'"),
        (f"{HEAD}- sink < much", "line 3, column 3: expected a number, got 'much'"),
        (f"{HEAD}- sink < nan", "line 3, column 3: expected a number, got 'nan'"),
        (f"{HEAD}- sink <> 1", "line 3, column 3: expected a rule such as"),
        (f"{HEAD}- received < 1", "line 3, column 3: received has a value for every key and none for a whole head"),
        (f"{HEAD}- no head unifrom", "line 3, column 3: unknown class of heads 'unifrom': did you mean 'uniform'?"),
        (f"{HEAD}- all is well", "line 3, column 3: expected a rule such as 'sink < 0.9', 'no head uniform'"),
        (f"{HEAD}- sink < 1 in layer x", "line 3, column 3: expected heads such as any, all, 3.1 or layer 4-8"),
        (f"{HEAD}- entropi: {{max: 1}}", "line 3, column 3: unknown key 'entropi': did you mean 'entropy'"),
        (f"{HEAD}- name: x", "line 3, column 3: no rule: expected from and to, is, trend, or the name of a measure"),
        (f"{HEAD}- entropy: {{}}", "line 3, column 12: the rule demands nothing: give min, max or both"),
        (f"{HEAD}- entropy: {{max: x}}", "line 3, column 18: expected 'max' to be a number, got 'x'"),
        (f"{HEAD}- entropy: {{max: inf}}", "line 3, column 18: expected 'max' to be a finite number, got 'inf'"),
        (f"{HEAD}- entropy: {{maxx: 1}}", "line 3, column 13: unknown key 'maxx': did you mean 'max'?"),
        (f"{HEAD}- {{entropy: {{max: 1}}, sink: {{max: 1}}}}", "line 3, column 23: a rule is about one measure"),
        (f"{HEAD}- {{from: cat}}", "line 3, column 3: the key 'to' is missing"),
        (
            f"{HEAD}- {{from: cat, to: mat}}",
            "line 3, column 3: the rule demands nothing: give min, max, than or above",
        ),
        (f"{HEAD}- {{from: a, to: b, min: 1.5}}", "line 3, column 25: expected 'min' to be at most 1.0, got '1.5'"),
        (f"{HEAD}- {{from: a, to: b, min: 0.5, max: 0.4}}", "line 3, column 25: min 0.5 is larger than max 0.4"),
        (f"{HEAD}- {{from: a, to: b, then: c}}", "line 3, column 20: unknown key 'then': did you mean 'than'?"),
        (f"{HEAD}- {{from: a, to: b, above: chance}}", "line 3, column 27: expected 'above' like permutation 95"),
        (f"{HEAD}- {{from: a, to: b, above: permutation 100}}", "line 3, column 27: expected 'above' like permutation"),
        (f"{HEAD}- {{from: a, to: b, min: 1, kind: self}}", "line 3, column 34: expected 'kind' to be one of encoder"),
        (f"{HEAD}- {{from: a, to: b, min: 1, heads: best}}", "line 3, column 35: expected heads such as any, all, 3.1"),
        (f"{HEAD}- {{from: a, to: b, min: 1, heads: [any 1.1, all 1.2]}}", "heads can be any of those named or all"),
        ("rules: [{from: a, to: b, min: 1}]", "line 1, column 9: the key 'text' is missing: a rule about words"),
        (f"{HEAD}- {{is: x}}", "line 3, column 8: unknown class of heads 'x': known are: block"),
        (f"{HEAD}- {{is: self, is-not: local}}", "line 3, column 3: expected one of is and is-not"),
        ("suites: [{file: no.jsonl}]", "line 1, column 17: no such file: "),
        (
            "baseline: {file: b.json, absolute: -1}",
            "line 1, column 36: expected 'absolute' to be at least 0.0, got '-1'",
        ),
        ("baseline: {relative: -0.1}", "line 1, column 22: expected 'relative' to be at least 0.0, got '-0.1'"),
        ("baseline: {metrics: {sink: {absolute: -1}}}", "line 1, column 39: expected 'absolute' to be at least 0.0"),
        ("baseline: {metrics: {sinc: {}}}", "line 1, column 28: unknown metric 'sinc': did you mean 'sink'"),
        ("rules: [!!python/object/apply:os.system [ls]]", "line 1, column 9: expected plain values, got the tag"),
        ("rules: [&a sink < 1, *a]", "line 1, column 9: anchors such as &a are not supported"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(file: Path, text: str, said: str) -> None:
    assert said in refused(file, text)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("", "cases.jsonl holds no cases: expected a JSON object with text, from and to in each line"),
        ("{}", "cases.jsonl, line 1, column 1: the key 'text' is missing"),
        (
            '{"text": "a b", "from": "a", "to": "b"}',
            "line 1, column 1: the case demands nothing: give than, or give the suite",
        ),
        ('\n{"text": "a", "form": "a"}', "cases.jsonl, line 2, column 1: unknown key 'form': did you mean 'from'?"),
        ("[1]", "cases.jsonl, line 1: expected a JSON object with text, from and to, got a list"),
        ("{", "cases.jsonl, line 1 is not JSON"),
        ('{"text": " ", "from": "a", "to": "b", "than": "c"}', "line 1, column 1: the text is empty"),
        (
            '{"text": "\\ud800", "from": "a", "to": "b", "than": "c"}',
            "cases.jsonl, line 1: expected characters, got U+D800",
        ),
    ],
)
def test_cases_that_are_wrong_are_named_by_their_line(file: Path, lines: str, said: str) -> None:
    file.with_name("cases.jsonl").write_text(lines)
    message = refused(file, "suites:\n- {file: cases.jsonl, min-rate: 1}")
    assert message.startswith("line 2, column 10: ")
    assert said in message


def test_a_suite_that_asks_for_nothing_is_refused(file: Path) -> None:
    file.with_name("cases.jsonl").write_text('{"text": "a b", "from": "a", "to": "b", "than": "a"}')
    assert "the suite demands nothing: give min-rate, above or both" in refused(file, "suites: [{file: cases.jsonl}]")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is not JSON"),
        ("[]", "is not a baseline: expected the schema attncli.baseline/1, got an empty list; record it again"),
        ('{"schema": "attncli.stats/1"}', "expected the schema attncli.baseline/1, got 'attncli.stats/1'"),
        ('{"schema": "attncli.baseline/2", "heads": []}', "got 'attncli.baseline/2'"),
        ('{"schema": "attncli.baseline/1", "heads": [{"kind": 1}]}', "is a damaged baseline (KeyError: 'layer')"),
        ('{"schema": "attncli.baseline/1", "heads": 3, "run": {}}', "is a damaged baseline"),
    ],
)
def test_what_is_no_baseline_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "baseline.json"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        read_baseline(path)
    assert said in str(caught.value)
