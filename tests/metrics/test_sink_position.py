"""`sink_position` on rows that one can work out by hand."""

from __future__ import annotations

import math

from made_rows import by_hand, head_value

from attncli.metrics.sink_position import METRIC


def test_where_it_is() -> None:
    assert head_value(METRIC, by_hand([[0.5, 0.0, 0.5], [0.25, 0.25, 0.5], [0.0, 0.25, 0.75]])) == 2


def test_of_equal_keys_the_first_whatever_the_rounding() -> None:
    third = 1 / 3
    assert head_value(METRIC, by_hand([[third - 5e-9, third, third + 5e-8]] * 3)) == 0


def test_no_key_that_all_see_has_none() -> None:
    one = by_hand([[1.0, 0.0], [0.0, 1.0]], [[True, False], [False, True]])
    assert math.isnan(head_value(METRIC, one))
