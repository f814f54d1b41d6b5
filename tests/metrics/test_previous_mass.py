"""`previous_mass` on rows that one can work out by hand."""

from __future__ import annotations

import math

import pytest
from made_rows import by_hand, head_value, row_values

from attncli.metrics.previous_mass import METRIC


def test_the_first_token_has_none_before_it() -> None:
    one = by_hand([[0.5, 0.5], [0.25, 0.75]])
    assert row_values(METRIC, one) == pytest.approx([math.nan, 0.25], nan_ok=True)


def test_a_head_has_the_mean_over_rows_that_have_one() -> None:
    one = by_hand([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.5, 0.5]])
    assert head_value(METRIC, one) == pytest.approx(0.75)
