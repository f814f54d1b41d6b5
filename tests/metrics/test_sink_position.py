"""`sink_position`: its reference, and rows computed by hand."""

from __future__ import annotations

import math

from made_rows import by_hand, head_value
from metrics.test_sink import naive_candidates
from naive_metrics import Case, Mask, Matrix, Special, Value

from attncli.metrics.sink_position import METRIC


def naive(weights: Matrix, visible: Mask, special: Special) -> Value:
    candidates = naive_candidates(weights, visible, special)
    return max(candidates, key=lambda k: candidates[k], default=None)


CASE = Case(naive, uniform=0, last_key=5)


def test_the_position_of_the_key_that_gets_most() -> None:
    assert head_value(METRIC, by_hand([[0.5, 0.0, 0.5], [0.25, 0.25, 0.5], [0.0, 0.25, 0.75]])) == 2


def test_of_equal_keys_the_first_wins_whatever_the_rounding() -> None:
    third = 1 / 3
    assert head_value(METRIC, by_hand([[third - 5e-9, third, third + 5e-8]] * 3)) == 0


def test_without_a_key_that_all_rows_see_it_is_undefined() -> None:
    text = by_hand([[1.0, 0.0], [0.0, 1.0]], [[True, False], [False, True]])
    assert math.isnan(head_value(METRIC, text))
