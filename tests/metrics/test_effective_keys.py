"""`effective_keys` on rows that one can work out by hand."""

from __future__ import annotations

import pytest
from made_rows import by_hand, head_value, row_values

from attncli.metrics.effective_keys import METRIC


def test_a_quarter_each_is_four_keys() -> None:
    assert row_values(METRIC, by_hand([[0.25] * 4])) == pytest.approx([4])


def test_a_head_has_the_mean_over_rows_not_the_exponential_of_the_mean() -> None:
    assert head_value(METRIC, by_hand([[1.0, 0.0], [0.5, 0.5]])) == pytest.approx(1.5)
