"""`received`: its reference, and rows computed by hand."""

from __future__ import annotations

import math

import pytest
from made_rows import Map, block, by_hand, causal, inputs
from naive_metrics import TOKENS, Case, Mask, Matrix, Special, Value, mean

from attncli.metrics.received import METRIC
from attncli.stream import Measure


def naive(weights: Matrix, visible: Mask, special: Special) -> list[Value]:
    return [mean([row[k] for i, row in enumerate(weights) if visible[i][k]]) for k in range(len(special))]


CASE = Case(naive, uniform=[1 / TOKENS] * TOKENS, last_key=[0, 0, 0, 0, 0, 1])


def received(text: Map) -> list[float]:
    sink = Measure([METRIC], per_query=True)
    sink.add(block([text]))
    sink.end_layer("encoder", 0)
    values: list[float] = sink.result(inputs([text])).keys["received"].values.tolist()
    return values


def test_the_mean_over_rows() -> None:
    assert received(by_hand([[1.0, 0.0], [0.5, 0.5]])) == pytest.approx([0.75, 0.25])


def test_only_rows_that_see_the_key_count() -> None:
    assert received(by_hand([[1.0, 0.0], [0.5, 0.5]], causal(2))) == pytest.approx([0.75, 0.5])


def test_a_key_that_no_row_sees_is_undefined() -> None:
    text = by_hand([[1.0, 0.0], [1.0, 0.0]], [[True, False], [True, False]])
    assert received(text) == pytest.approx([1, math.nan], nan_ok=True)
