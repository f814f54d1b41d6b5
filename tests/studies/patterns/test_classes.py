"""Which classes a head has: at the thresholds, just below them, and with undefined numbers."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import pytest

from attncli.studies.patterns.compute import RULES, UNIFORM_SEGMENT, pages, questions, verdicts
from attncli.studies.patterns.options import Thresholds
from attncli.studies.patterns.result import CLASSES, NUMBERS

NO_CLASS = {
    "sink": 0.1,
    "sink_position": 0.0,
    "diagonal": 0.1,
    "diagonal_offset": 0.0,
    "local_mass": 0.1,
    "entropy_normalized": 0.8,
    "segment_mass": math.nan,
    UNIFORM_SEGMENT: math.nan,
}
DEFAULTS = Thresholds()


def classes_of(thresholds: Thresholds = DEFAULTS, **numbers: float) -> dict[str, float]:
    return verdicts({**NO_CLASS, **numbers}, thresholds)


def test_the_rules_use_all_numbers() -> None:
    assert {*NO_CLASS} == {*NUMBERS, UNIFORM_SEGMENT}
    assert tuple(RULES) == CLASSES


@pytest.mark.parametrize(
    ("numbers", "classes"),
    [
        ({}, ["mixed"]),
        ({"sink": 0.3}, ["vertical"]),
        ({"sink": 0.2999}, ["mixed"]),
        ({"diagonal": 0.3, "diagonal_offset": -1.0}, ["diagonal"]),
        ({"diagonal": 0.3, "diagonal_offset": 1.0}, ["diagonal"]),
        ({"diagonal": 0.9, "diagonal_offset": -2.0}, ["mixed"]),
        ({"diagonal": 0.9, "diagonal_offset": -2.0, "entropy_normalized": 0.1, "local_mass": 0.9}, ["sparse"]),
        ({"local_mass": 0.5}, ["local"]),
        ({"local_mass": 0.9, "diagonal": 0.4}, ["diagonal"]),
        ({"entropy_normalized": 0.2999}, ["sparse"]),
        ({"entropy_normalized": 0.3}, ["mixed"]),
        ({"entropy_normalized": 0.1, "sink": 0.5}, ["vertical"]),
        ({"entropy_normalized": 0.9501}, ["uniform"]),
        ({"entropy_normalized": 0.95}, ["mixed"]),
        ({"segment_mass": 0.9, UNIFORM_SEGMENT: 0.5}, ["block"]),
        ({"segment_mass": 0.7, UNIFORM_SEGMENT: 0.5}, ["mixed"]),
        ({"sink": 0.31, "diagonal": 0.8}, ["diagonal", "vertical"]),
        ({"sink": 0.9, "diagonal": 0.4, "segment_mass": 1.0, UNIFORM_SEGMENT: 0.5}, ["vertical", "block", "diagonal"]),
        ({"entropy_normalized": 0.1, "segment_mass": 1.0, UNIFORM_SEGMENT: 0.5}, ["sparse", "block"]),
        (dict.fromkeys(NO_CLASS, math.nan), []),
        ({"local_mass": math.nan, "sink": 1.0}, ["vertical"]),
    ],
)
def test_verdicts(numbers: dict[str, float], classes: list[str]) -> None:
    assert list(classes_of(**numbers)) == classes


@pytest.mark.parametrize(
    ("change", "numbers", "classes"),
    [
        ({"vertical": 0.05}, {}, ["vertical"]),
        ({"diagonal": 0.05}, {}, ["diagonal"]),
        ({"reach": 2}, {"diagonal": 0.9, "diagonal_offset": -2.0}, ["diagonal"]),
        ({"reach": 0}, {"diagonal": 0.9, "diagonal_offset": -1.0}, ["mixed"]),
        ({"local": 0.1}, {}, ["local"]),
        ({"sparse": 0.9}, {}, ["sparse"]),
        ({"uniform": 0.7}, {}, ["uniform"]),
        ({"block": 0.1}, {"segment_mass": 0.65, UNIFORM_SEGMENT: 0.5}, ["block"]),
        ({"vertical": 1.0}, {"sink": 1.0}, ["vertical"]),
    ],
)
def test_thresholds_can_be_set(change: dict[str, float], numbers: dict[str, float], classes: list[str]) -> None:
    assert list(classes_of(replace(DEFAULTS, **change), **numbers)) == classes  # type: ignore[arg-type]


def test_strength_goes_from_0_at_the_threshold_to_1() -> None:
    assert classes_of(sink=0.3) == {"vertical": 0.0}
    assert classes_of(sink=0.65)["vertical"] == pytest.approx(0.5)
    assert classes_of(sink=1.0) == {"vertical": 1.0}
    assert classes_of(entropy_normalized=0.0) == {"sparse": 1.0}
    assert classes_of(entropy_normalized=1.0)["uniform"] == pytest.approx(1.0)
    assert classes_of(sink=0.15, local_mass=0.1, diagonal=0.03) == {"mixed": 0.5}


def test_each_class_has_a_page_with_its_thresholds() -> None:
    for name, page in pages().items():
        assert questions()[name].endswith("?")
        assert all(re.search(rf"^{word} ", page, re.MULTILINE) for word in ("Rule", "Picture", "Numbers", "Source"))
    text = " ".join(pages().values())
    for name in ("vertical", "diagonal", "local", "sparse", "uniform", "block"):
        value = getattr(DEFAULTS, name)
        assert re.search(rf"{re.escape(str(value))} \(--{name}\)", text), name
    assert f"(--reach {DEFAULTS.reach})" in text
