"""Verdicts on values near a limit: the same for every value within the tolerance, whatever the last digits are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attncli.cli.config.rules import file_section
from attncli.errors import UsageError
from attncli.inputs.yaml_file import read_yaml, validate
from attncli.studies.check.baseline import Recorded, compare
from attncli.studies.check.bound import Bound, HeadKey, decisive_head
from attncli.studies.check.measures import measure_verdict
from attncli.studies.check.rules import read_rules
from attncli.studies.patterns.result import NUMBERS

KEY: HeadKey = ("encoder", 0, 0)
LEAST_CLEAR = {
    "vertical": {"sink": 0.3},
    "diagonal": {"diagonal": 0.3},
    "previous-token": {"diagonal": 0.3},
    "local": {"local_mass": 0.5},
    "block": {"segment_mass": 0.8},
}
"""The numbers of a head that just reaches each class that may be reached."""
OTHERS = {
    "sink": 0.1,
    "diagonal": 0.1,
    "local_mass": 0.1,
    "segment_mass": 0.5,
    "entropy_normalized": 0.6,
    "special_mass": 0.1,
}
WHERE = {"sink_position": 0, "sink_rows": 1, "diagonal_offset": -1}
UNIFORM = {"sink": 0.1, "diagonal": 0.1, "local_mass": 0.1, "segment_mass": 0.5}
SAME = [-9e-6, -1e-6, 0.0, 1e-6, 9e-6]


class FixedMeasures:
    """Measures of one head that are what a test says."""

    def __init__(self, values: Mapping[str, float], uniform: Mapping[str, float]) -> None:
        self._numbers = [{name: round(value, 6) for name, value in table.items()} for table in (values, uniform)]

    def values(self, texts: object, uniform: bool = False) -> Mapping[str, Mapping[HeadKey, float]]:
        return {name: {KEY: value} for name, value in self._numbers[uniform].items()}

    def class_numbers(self, texts: object, key: HeadKey) -> Mapping[str, float]:
        uniform = {f"{name}_uniform": value for name, value in self._numbers[1].items()}
        return {**self._numbers[0], **uniform, "tokens": 20.0, "diagonal_offset_share": 1.0}


def holds(folder: Path, line: str, values: Mapping[str, float], uniform: Mapping[str, float] = UNIFORM) -> bool:
    path = folder / "rules.yaml"
    path.write_text(f"texts: {{a: a cat}}\nrules:\n- {line}\n")
    document = read_yaml(path, {})
    rule: Any = read_rules(document, validate(document, file_section())).rules[0]
    measures: Any = FixedMeasures(values, uniform)
    return measure_verdict(Bound(rule, (KEY,), (0,)), measures, 1e-5).holds


@pytest.mark.parametrize("noise", SAME)
@pytest.mark.parametrize(("sign", "kept"), [("<", False), ("<=", True), (">", False), (">=", True)])
def test_a_budget_on_the_border(tmp_path: Path, sign: str, kept: bool, noise: float) -> None:
    assert holds(tmp_path, f"entropy {sign} 0.7", {"entropy": 0.7 + noise}) is kept
    assert holds(tmp_path, f"distance {sign} 700", {"distance": 700 + 700 * noise}) is kept
    beyond = 0.7 - 2e-5 if sign.startswith("<") else 0.7 + 2e-5
    assert holds(tmp_path, f"entropy {sign} 0.7", {"entropy": beyond}) is True
    assert holds(tmp_path, f"entropy {sign} 0.7", {"entropy": 1.4 - beyond}) is False


@pytest.mark.parametrize("noise", SAME)
@pytest.mark.parametrize("name", LEAST_CLEAR)
def test_a_class_that_may_be_reached(tmp_path: Path, name: str, noise: float) -> None:
    (number, threshold) = next(iter(LEAST_CLEAR[name].items()))
    for change, has in ((noise, True), (-3e-5, False)):
        numbers = {**OTHERS, **WHERE, number: threshold + change}
        assert holds(tmp_path, f"head 0.0 is {name}", numbers) is has
        assert holds(tmp_path, f"head 0.0 is not {name}", numbers) is not has
    assert set(numbers) == set(NUMBERS)


@pytest.mark.parametrize("noise", SAME)
@pytest.mark.parametrize("name", ["vertical", "diagonal", "local"])
def test_a_margin_over_uniform_attention_that_may_be_reached(tmp_path: Path, name: str, noise: float) -> None:
    (number, threshold) = next(iter(LEAST_CLEAR[name].items()))
    uniform = {**UNIFORM, number: threshold}
    for change, has in ((noise, True), (-3e-5, False)):
        numbers = {**OTHERS, **WHERE, number: threshold + 0.2 + change}
        assert holds(tmp_path, f"head 0.0 is {name}", numbers, uniform) is has


def test_a_text_that_is_too_short_to_tell_is_refused(tmp_path: Path) -> None:
    numbers, uniform = {**OTHERS, **WHERE, "local_mass": 0.95}, {**UNIFORM, "local_mass": 0.7}
    said = r"a text of 20 tokens is too short to tell whether a head is local: uniform attention has local_mass 0.700"
    for line in ("head 0.0 is local", "no head local", "head 0.0 is mixed"):
        with pytest.raises(UsageError, match=said if "local" in line else "whether a head is mixed"):
            holds(tmp_path, line, numbers, uniform)
    assert not holds(tmp_path, "head 0.0 is vertical", numbers, uniform)


@pytest.mark.parametrize("noise", SAME)
@pytest.mark.parametrize(("name", "threshold", "beyond"), [("sparse", 0.5, -3e-5), ("uniform", 0.95, 3e-5)])
def test_a_class_that_must_be_passed(tmp_path: Path, name: str, threshold: float, beyond: float, noise: float) -> None:
    for change, has in ((noise, False), (beyond, True)):
        numbers = {**OTHERS, **WHERE, "entropy_normalized": threshold + change}
        assert holds(tmp_path, f"head 0.0 is {name}", numbers) is has
        assert holds(tmp_path, f"no head {name}", numbers) is not has
        assert holds(tmp_path, "head 0.0 is mixed", numbers) is not has


@pytest.mark.parametrize("noise", SAME)
def test_a_head_has_a_class_or_the_opposite_one(tmp_path: Path, noise: float) -> None:
    """A head with a diagonal on the border is diagonal and not local, as no head is both."""
    numbers = {**OTHERS, **WHERE, "diagonal": 0.3 + noise, "local_mass": 0.9}
    assert holds(tmp_path, "head 0.0 is diagonal", numbers)
    assert holds(tmp_path, "head 0.0 is not local", numbers)


@pytest.mark.parametrize("value", [0.4, 700.0])
@pytest.mark.parametrize("sign", [-1, 1])
def test_a_measure_that_drifted_by_as_much_as_it_may(tmp_path: Path, value: float, sign: int) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text("texts: {a: a cat}\nbaseline: {file: b.json, absolute: 0.01, relative: 0}\n")
    document = read_yaml(path, {})
    rule = read_rules(document, validate(document, file_section())).baseline
    assert rule is not None
    recorded = Recorded(tmp_path / "b.json", {}, {}, {"distance": {KEY: value}})
    slack = 1e-5 * max(1.0, value)
    for noise, same in ((0.9 * slack, True), (0.0, True), (-0.9 * slack, True), (slack + 2e-6, False)):
        now = {"distance": {KEY: round(value + sign * (0.01 + noise), 6)}}
        verdict, drifts = compare(rule, recorded, now, 1e-5)
        assert verdict.holds is same
        assert [drift.tolerance for drift in drifts] == [0.01] * (not same)


@pytest.mark.parametrize("noise", SAME)
def test_of_heads_that_keep_a_rule_alike_the_first_one_is_shown(noise: float) -> None:
    assert decisive_head(np.array([np.nan, 0.1, 0.2, 0.2 + noise]), "any", 1e-5) == 2
    assert decisive_head(np.array([np.nan, 0.3, 0.2, 0.2 + noise]), "all", 1e-5) == 2
    assert decisive_head(np.array([0.1, 0.2, 0.2 + 2e-5]), "any", 1e-5) == 2


def test_the_head_that_is_shown_keeps_or_breaks_the_rule_as_the_verdict_says() -> None:
    assert decisive_head(np.array([-1e-6, 1e-6]), "any", 1e-5) == 1
    assert decisive_head(np.array([1e-6, -1e-6]), "all", 1e-5) == 1
