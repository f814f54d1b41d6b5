"""`entropy`: its reference, and rows computed by hand."""

from __future__ import annotations

import math

import pytest
from made_rows import by_hand, causal, row_values, undefined
from naive_metrics import TOKENS, Case, Mask, Matrix, Special, Value, by_row

from attncli.metrics.entropy import METRIC


def naive(weights: Matrix, visible: Mask, special: Special) -> list[Value]:
    return by_row(visible, lambda i: -sum(weight * math.log(weight) for weight in weights[i] if weight > 0))


CASE = Case(naive, uniform=math.log(TOKENS), last_key=0)


def test_half_and_two_quarters() -> None:
    assert row_values(METRIC, by_hand([[0.5, 0.25, 0.25]])) == pytest.approx([1.5 * math.log(2)])


def test_a_row_on_one_key_has_zero_without_a_minus_sign() -> None:
    [value] = row_values(METRIC, by_hand([[1.0, 0.0]]))
    assert math.copysign(1, value) == 1
    assert value == 0


def test_the_mass_of_a_learned_sink_is_left_out() -> None:
    assert row_values(METRIC, by_hand([[0.25, 0.25]])) == pytest.approx([math.log(2)])


def test_a_row_that_sees_no_key_is_undefined() -> None:
    text = by_hand([[1.0, 0.0], [0.0, 0.0]], [[True, False], [False, False]])
    assert undefined(row_values(METRIC, text)) == [False, True]


def test_causal_rows_are_not_rescaled() -> None:
    text = by_hand([[1.0, 0.0], [0.5, 0.5]], causal(2))
    assert row_values(METRIC, text, "decoder") == pytest.approx([0, math.log(2)])
