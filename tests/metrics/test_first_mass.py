"""`first_mass` on rows that one can work out by hand."""

from __future__ import annotations

import math

import pytest
from made_rows import by_hand, causal, row_values

from attncli.metrics.first_mass import METRIC


def test_a_row_of_one_key_has_no_choice() -> None:
    one = by_hand([[1.0, 0.0, 0.0], [0.75, 0.25, 0.0], [0.5, 0.25, 0.25]], causal(3))
    assert row_values(METRIC, one, "decoder") == pytest.approx([math.nan, 0.75, 0.5], nan_ok=True)


def test_a_window_that_lost_visibility_of_it_has_none() -> None:
    sees = [[True, True, False], [True, True, False], [False, True, True]]
    one = by_hand([[0.5, 0.5, 0.0], [0.5, 0.5, 0.0], [0.0, 0.5, 0.5]], sees)
    assert row_values(METRIC, one) == pytest.approx([0.5, 0.5, math.nan], nan_ok=True)
