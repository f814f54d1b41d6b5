"""Rules about checkpoints: how lines are read, and which changes they find in made-up series."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attncli.cli.config.rules import file_section
from attncli.engine.checkpoints import Checkpoint
from attncli.errors import UsageError
from attncli.inputs.yaml_file import read_yaml, validate
from attncli.studies.check.bound import Bound, HeadKey
from attncli.studies.check.result import TOLERANCE, Candidates, Verdict
from attncli.studies.check.rules import read_rules
from attncli.studies.check.rules.kinds import TrendRule
from attncli.studies.check.trend_series import TrendSeries

HEADS: tuple[HeadKey, ...] = (("decoder", 0, 0), ("decoder", 1, 0), ("decoder", 1, 1))
STEPS = (100, 200, 400, 1000)


def trend(line: str) -> TrendRule:
    """Return the rule of a line, which may be a key and its value."""
    Path("rules.yaml").write_text(f"texts: {{mat: The cat sat on the mat.}}\nrules:\n- {line}\n", encoding="utf-8")
    document = read_yaml("rules.yaml", {})
    (rule,) = read_rules(document, validate(document, file_section())).rules
    assert isinstance(rule, TrendRule)
    return rule


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


ANY = Candidates("any")
BETWEEN = {"direction": "rises", "span": "neighbours", "must": False, "mean": False, "steps": (None, None)}


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        ("sink rises by more than 0.2 between checkpoints", {**BETWEEN, "metric": "sink", "by": 0.2, "heads": ANY}),
        ("trend: sink rises by more than 0.2", {**BETWEEN, "name": "no alarm: sink rises by more than 0.2"}),
        ("sink  rises by more  than 0.2", {**BETWEEN, "by": 0.2}),
        ("entropy falls by more than 1.5 between any checkpoints", {"direction": "falls", "span": "any", "by": 1.5}),
        ("decoder sink changes by more than 0 within 500 steps", {"kind": "decoder", "span": "within", "within": 500}),
        (
            "induction must rise by more than 0.3 from first to last",
            {"must": True, "span": "ends", "direction": "rises"},
        ),
        (
            "sink rises by more than 0.2 of steps 100-400 in head 1.1",
            {"steps": (100, 400), "heads": Candidates("any", ((1, 1, 1),))},
        ),
        ("sink rises by more than 0.2 of steps 500-", {"steps": (500, None)}),
        ("sink rises by more than 0.2 in all heads of layer 1-2", {"heads": Candidates("all", ((1, 2, None),))}),
        (
            "sink rises by more than 0.2 in the mean of layer 1",
            {"mean": True, "heads": Candidates("any", ((1, 1, None),))},
        ),
        ("{trend: rigidity rises by more than 0.2, name: memorised}", {"metric": "rigidity", "name": "memorised"}),
        ("{trend: sink rises by more than 0.2, text: mat, kind: decoder}", {"kind": "decoder"}),
    ],
)
def test_lines_of_trends(line: str, fields: dict[str, Any]) -> None:
    rule = trend(line)
    assert {name: getattr(rule, name) for name in fields} == fields
    assert (rule.text is None) == ("text:" not in line)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("sink rises a lot", "expected a trend such as 'sink rises by more than 0.2 between checkpoints'"),
        ("sink rises by more than much", "expected a number, got 'much'"),
        ("sink rises by more than -0.1", "expected a number of at least 0"),
        ("sinc rises by more than 0.2", "unknown metric 'sinc': did you mean"),
        ("received rises by more than 0.2", "received has a value for every key"),
        ("sink_position rises by more than 0.2", "sink_position is a position"),
        ("retrieval falls by more than 0.2", "a trend of retrieval is not measured"),
        ("sink rises by more than 0.2 of steps 9-3", "steps 9-3 end before they begin"),
        ("sink rises by more than 0.2 in some place", "expected heads such as any, all, 3.1 or layer 4-8"),
        ("{trend: induction rises by more than 0.2, text: mat}", "is about repeated random tokens"),
        ("{trend: rigidity rises by more than 0.2, text: mat}", "rigidity compares texts with each other"),
        ("{trend: decoder sink rises by more than 0.2, kind: cross}", "the kind is given twice"),
        ("{trend: sink rises by more than 0.2, heads: any}", "unknown key 'heads'"),
    ],
)
def test_wrong_trends_are_one_line_with_their_place(line: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        trend(line)
    assert str(caught.value).startswith("rules.yaml, line 3, column ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def judge(line: str, values: Any, steps: Any = STEPS, heads: Any = HEADS) -> Verdict:
    checkpoints = [Checkpoint(f"runs/checkpoint-{step}", step) for step in steps]
    series = TrendSeries(checkpoints, [Bound(trend(line), heads, (0,))], [np.array(values, dtype=float)])
    verdicts, points = series.verdicts(TOLERANCE)
    assert [point.checkpoint for point in points] == [checkpoint.name for checkpoint in checkpoints]
    return verdicts[0]


def test_spans_compare_the_checkpoints_that_they_name() -> None:
    """Against all pairs of checkpoints, in loops."""
    values = np.random.default_rng(0).random((4, 3))
    spans = {
        "between checkpoints": lambda a, b: b == a + 1,
        "between any checkpoints": lambda a, b: True,
        "within 300 steps": lambda a, b: STEPS[b] - STEPS[a] <= 300,
        "from first to last": lambda a, b: (a, b) == (0, 3),
        "between any checkpoints of steps 200-": lambda a, b: a > 0,
        "from first to last of steps 100-400": lambda a, b: (a, b) == (0, 2),
    }
    sizes = {"rises": lambda change: change, "falls": lambda change: -change, "changes": abs}
    for span, compares in spans.items():
        pairs = [pair for pair in combinations(range(4), 2) if compares(*pair)]
        for direction, size in sizes.items():
            changes = [(size(values[b, head] - values[a, head]), a, b, head) for a, b in pairs for head in range(3)]
            largest, a, b, head = max(changes)
            for by, holds in ((largest - 0.01, False), (largest + 0.01, True)):
                if by < 0:
                    continue
                verdict = judge(f"sink {direction} by more than {by:.9f} {span}", values)
                assert (verdict.holds, verdict.head, verdict.layer) == (holds, HEADS[head][2], HEADS[head][1])
                assert verdict.found == pytest.approx(values[b, head] - values[a, head])
                assert (
                    f"between checkpoint-{STEPS[a]} ({values[a, head]:.3f}) and checkpoint-{STEPS[b]} (" in verdict.why
                )


SINK = [[0.1, 0.1, 0.1], [0.2, 0.5, 0.1], [0.2, 0.5, 0.1], [0.1, 0.6, 0.5]]


def test_an_alarm_of_any_head_and_one_of_all_heads() -> None:
    verdict = judge("sink rises by more than 0.3", SINK)
    assert (verdict.holds, verdict.layer, verdict.head, verdict.heads, verdict.met) == (False, 1, 0, 3, 1)
    assert verdict.wanted == "sink rises by at most 0.3 between neighbouring checkpoints in every head"
    assert verdict.why.endswith(
        "changes by +0.400 between checkpoint-100 (0.100) and checkpoint-200 (0.500); 1 of 3 heads hold"
    )
    assert judge("sink rises by more than 0.3 in all heads", SINK).holds
    assert not judge("sink rises by more than 0.09 in all heads", SINK).holds
    assert judge("sink rises by more than 0.3 in all heads", SINK).wanted.endswith("in some head")


def test_a_change_that_must_be_there() -> None:
    assert judge("sink must rise by more than 0.3", SINK).holds
    assert not judge("sink must rise by more than 0.3 in all heads", SINK).holds
    assert judge("sink must rise by more than 0.05 in all heads", SINK).holds
    verdict = judge("sink must fall by more than 0.3", SINK)
    assert (verdict.holds, verdict.found) == (False, pytest.approx(-0.1))
    assert verdict.wanted == "sink falls by more than 0.3 between neighbouring checkpoints in some head"


def test_the_mean_over_heads_is_one_number() -> None:
    verdict = judge("sink rises by more than 0.1 in the mean of layer 1", np.mean(SINK, axis=1, keepdims=True))
    assert (verdict.kind, verdict.layer, verdict.head, verdict.heads) == (None, None, None, None)
    assert verdict.wanted == (
        "sink rises by at most 0.1 between neighbouring checkpoints in the mean of all heads of layer 1"
    )
    assert verdict.why.startswith("the mean sink of 3 heads changes by +0.167 between")


def test_a_change_that_equals_the_limit_up_to_the_tolerance_is_no_alarm() -> None:
    assert judge("sink rises by more than 0.4", SINK).holds
    assert judge("sink rises by more than 0.39999", SINK).holds
    assert not judge("sink rises by more than 0.3999", SINK).holds
    assert not judge("sink must rise by more than 0.4", SINK).holds


def test_undefined_values_are_left_out() -> None:
    values = [[0.1, np.nan, 0.2], [np.nan, np.nan, 0.3], [0.9, np.nan, 0.4], [0.9, 0.1, 0.4]]
    verdict = judge("sink rises by more than 0.3 between checkpoints", values)
    assert (verdict.holds, verdict.head, verdict.found) == (True, 1, pytest.approx(0.1))
    assert not judge("sink rises by more than 0.3 between any checkpoints", values).holds
    with pytest.raises(UsageError, match="sink is undefined for these heads"):
        judge("sink rises by more than 0.3", np.full((4, 3), np.nan))


def test_steps_that_are_needed_and_missing_are_refused() -> None:
    with pytest.raises(
        UsageError, match=r"line 3, column .*counts steps, and the name 'checkpoint-None' has no number"
    ):
        judge("sink rises by more than 0.3 within 200 steps", SINK, steps=(100, 200, 400, None))
    assert judge("sink rises by more than 0.5", SINK, steps=(100, 200, 400, None)).holds
    with pytest.raises(UsageError, match="no two checkpoints can be compared: there are checkpoint-100"):
        judge("sink rises by more than 0.3 of steps 500-", SINK)


def test_checkpoints_of_other_models_are_refused() -> None:
    rule = trend("sink rises by more than 0.2")
    measured = [([Bound(rule, heads, (0,))], [np.zeros(len(heads))]) for heads in (HEADS, HEADS[:2])]
    with pytest.raises(UsageError, match=r"'one' \(3 heads\) and 'two' \(2\) have different heads"):
        TrendSeries.of([Checkpoint("runs/one", None), Checkpoint("runs/two", None)], measured)
