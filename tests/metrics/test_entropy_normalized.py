"""`entropy_normalized` on rows that one can work out by hand."""

from __future__ import annotations

import math

import pytest
from made_rows import by_hand, causal, row_values

from attncli.metrics.entropy_normalized import METRIC


def test_even_over_half_of_four_keys_is_a_half() -> None:
    assert row_values(METRIC, by_hand([[0.5, 0.5, 0.0, 0.0]])) == pytest.approx([0.5])


def test_the_divisor_is_what_the_row_sees() -> None:
    one = by_hand([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [1 / 3] * 3], causal(3))
    assert row_values(METRIC, one, "decoder") == pytest.approx([math.nan, 1, 1], nan_ok=True)
