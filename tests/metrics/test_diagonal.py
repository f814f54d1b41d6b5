"""`diagonal` on rows that one can work out by hand."""

from __future__ import annotations

import pytest
from made_rows import by_hand, causal, head_value

from attncli.metrics.diagonal import METRIC


def stepping(n: int, step: int, weight: float = 1.0) -> list[list[float]]:
    """Rows that give `weight` to the key that many steps away, or to themselves."""
    rows = [[0.0] * n for _ in range(n)]
    for i in range(n):
        if 0 <= i + step < n:
            rows[i][i + step] = weight
        else:
            rows[i][i] = weight
    return rows


def test_the_main_diagonal() -> None:
    assert head_value(METRIC, by_hand([[1.0, 0.0], [0.25, 0.75]])) == pytest.approx(7 / 8)


def test_the_mean_is_over_rows_that_have_the_offset() -> None:
    assert head_value(METRIC, by_hand(stepping(9, -3, 0.5))) == pytest.approx(0.5)


def test_an_offset_that_four_rows_have_is_left_out() -> None:
    # offset -8 of 12 tokens: rows 8 to 11; the other 8 rows stay on the main diagonal, 8/12 of all
    assert head_value(METRIC, by_hand(stepping(12, -8), causal(12)), "decoder") == pytest.approx(8 / 12)


def test_offsets_past_eight_do_not_count() -> None:
    assert head_value(METRIC, by_hand(stepping(20, -9, 0.5))) == pytest.approx(0.5 * 9 / 20)
