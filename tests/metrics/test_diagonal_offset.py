"""`diagonal_offset`: its reference, and rows computed by hand."""

from __future__ import annotations

import math

import pytest
from made_rows import by_hand, head_value
from metrics.test_diagonal import naive_means
from naive_metrics import Case, Mask, Matrix, Special, Value

from attncli.metrics.diagonal_offset import METRIC


def naive(weights: Matrix, visible: Mask, special: Special) -> Value:
    means = naive_means(weights, visible)
    return max(sorted(means, key=abs), key=lambda offset: means[offset], default=None)


CASE = Case(naive, uniform=0, last_key=1)


def shifted(n: int, step: int) -> list[list[float]]:
    return [[float(j == min(max(i + step, 0), n - 1)) for j in range(n)] for i in range(n)]


@pytest.mark.parametrize("step", [-8, -1, 0, 2, 8])
def test_the_offset_at_which_each_row_attends(step: int) -> None:
    assert head_value(METRIC, by_hand(shifted(14, step))) == step


def test_of_equal_offsets_the_nearest_to_the_token_wins() -> None:
    assert head_value(METRIC, by_hand([[1 / 11] * 11] * 11)) == 0


def test_a_text_without_a_row_is_undefined() -> None:
    assert math.isnan(head_value(METRIC, by_hand([[0.0]], [[False]])))
