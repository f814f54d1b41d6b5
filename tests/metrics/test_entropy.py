"""`entropy` on rows that one can work out by hand."""

from __future__ import annotations

import math

import pytest
from made_rows import by_hand, causal, row_values, undefined

from attncli.metrics.entropy import METRIC


def test_half_and_two_quarters() -> None:
    assert row_values(METRIC, by_hand([[0.5, 0.25, 0.25]])) == pytest.approx([1.5 * math.log(2)])


def test_one_key_has_none_and_no_minus_sign() -> None:
    [value] = row_values(METRIC, by_hand([[1.0, 0.0]]))
    assert math.copysign(1, value) == 1
    assert value == 0


def test_what_a_sink_took_is_left_out() -> None:
    assert row_values(METRIC, by_hand([[0.25, 0.25]])) == pytest.approx([math.log(2)])


def test_a_row_that_sees_nothing_has_none() -> None:
    one = by_hand([[1.0, 0.0], [0.0, 0.0]], [[True, False], [False, False]])
    assert undefined(row_values(METRIC, one)) == [False, True]


def test_causal_rows_are_taken_as_they_are() -> None:
    one = by_hand([[1.0, 0.0], [0.5, 0.5]], causal(2))
    assert row_values(METRIC, one, "decoder") == pytest.approx([0, math.log(2)])
