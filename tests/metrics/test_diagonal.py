"""`diagonal`: its reference, and rows computed by hand."""

from __future__ import annotations

import pytest
from made_rows import by_hand, causal, head_value
from naive_metrics import TOKENS, Case, Mask, Matrix, Special, Value, at_offset, mean, min_rows

from attncli.metrics.diagonal import METRIC


def naive_means(weights: Matrix, visible: Mask) -> dict[int, float]:
    """Return the mean weight at each offset that enough rows have."""
    by_offset = {offset: at_offset(weights, visible, offset) for offset in range(-8, 9)}
    counts = {offset: sum(value is not None for value in values) for offset, values in by_offset.items()}
    means = {offset: mean(values) for offset, values in by_offset.items() if counts[offset] >= min_rows(visible)}
    return {offset: value for offset, value in means.items() if value is not None}


def naive(weights: Matrix, visible: Mask, special: Special) -> Value:
    return max(naive_means(weights, visible).values(), default=None)


CASE = Case(naive, uniform=1 / TOKENS, last_key=1 / 5)


def at_step(n: int, step: int, weight: float = 1.0) -> list[list[float]]:
    """Return rows that give `weight` to the key `step` tokens away, or to themselves if there is none."""
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
    assert head_value(METRIC, by_hand(at_step(9, -3, 0.5))) == pytest.approx(0.5)


def test_an_offset_that_only_four_rows_have_is_left_out() -> None:
    # offset -8 of 12 tokens: rows 8 to 11; the other 8 rows stay on the main diagonal, 8/12 of all
    assert head_value(METRIC, by_hand(at_step(12, -8), causal(12)), "decoder") == pytest.approx(8 / 12)


def test_offsets_beyond_eight_do_not_count() -> None:
    assert head_value(METRIC, by_hand(at_step(20, -9, 0.5))) == pytest.approx(0.5 * 9 / 20)
