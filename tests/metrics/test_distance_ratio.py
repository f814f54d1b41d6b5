"""`distance_ratio` on rows that one can work out by hand."""

from __future__ import annotations

import math

import pytest
from made_rows import by_hand, causal, row_values

from attncli.metrics.distance_ratio import METRIC


def test_the_last_of_three_causal_rows() -> None:
    one = by_hand([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.5, 0.0, 0.5]], causal(3))
    assert row_values(METRIC, one, "decoder") == pytest.approx([math.nan, 0, 1], nan_ok=True)


def test_only_visible_keys_make_the_even_distance() -> None:
    sees = [[True, True, False]] * 3
    one = by_hand([[0.0, 1.0, 0.0]] * 3, sees)
    assert row_values(METRIC, one) == pytest.approx([1 / 0.5, 0 / 0.5, 1 / 1.5])
