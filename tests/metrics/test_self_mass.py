"""`self_mass` on rows that one can work out by hand."""

from __future__ import annotations

import pytest
from made_rows import by_hand, row_values, undefined

from attncli.metrics.self_mass import METRIC


def test_the_diagonal() -> None:
    assert row_values(METRIC, by_hand([[0.5, 0.5], [0.25, 0.75]])) == pytest.approx([0.5, 0.75])


def test_a_row_that_may_not_see_itself_has_none() -> None:
    one = by_hand([[0.0, 1.0], [1.0, 0.0]], [[False, True], [True, False]])
    assert undefined(row_values(METRIC, one)) == [True, True]
