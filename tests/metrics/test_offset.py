"""`offset` on rows that one can work out by hand."""

from __future__ import annotations

import pytest
from made_rows import by_hand, row_values

from attncli.metrics.offset import METRIC


def test_back_is_negative_and_ahead_positive() -> None:
    one = by_hand([[0.0, 0.0, 0.0, 1.0], [1.0, 0.0, 0.0, 0.0], [0.0, 0.75, 0.0, 0.25], [0.0, 0.0, 0.0, 1.0]])
    assert row_values(METRIC, one) == pytest.approx([3, -1, -0.5, 0])


def test_both_sides_cancel() -> None:
    assert row_values(METRIC, by_hand([[0.0, 1.0, 0.0], [0.5, 0.0, 0.5]]))[1] == pytest.approx(0)


def test_what_a_sink_took_does_not_shorten_it() -> None:
    assert row_values(METRIC, by_hand([[0.0, 0.25, 0.25]])) == pytest.approx([1.5])
