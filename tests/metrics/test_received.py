"""`received` on rows that one can work out by hand."""

from __future__ import annotations

import math

import pytest
from made_rows import Map, block, by_hand, causal, inputs

from attncli.metrics.received import METRIC
from attncli.stream import Measure


def received(one: Map) -> list[float]:
    sink = Measure([METRIC], per_query=True)
    sink.add(block([one]))
    sink.end_layer("encoder", 0)
    found: list[float] = sink.result(inputs([one])).keys["received"].values.tolist()
    return found


def test_the_mean_over_rows() -> None:
    assert received(by_hand([[1.0, 0.0], [0.5, 0.5]])) == pytest.approx([0.75, 0.25])


def test_only_rows_that_may_see_the_key_count() -> None:
    assert received(by_hand([[1.0, 0.0], [0.5, 0.5]], causal(2))) == pytest.approx([0.75, 0.5])


def test_a_key_that_no_row_sees_has_none() -> None:
    one = by_hand([[1.0, 0.0], [1.0, 0.0]], [[True, False], [True, False]])
    assert received(one) == pytest.approx([1, math.nan], nan_ok=True)
