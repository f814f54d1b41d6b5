"""`diagonal_offset` on rows that one can work out by hand."""

from __future__ import annotations

import math

import pytest
from made_rows import by_hand, head_value

from attncli.metrics.diagonal_offset import METRIC


def shifted(n: int, step: int) -> list[list[float]]:
    return [[float(j == min(max(i + step, 0), n - 1)) for j in range(n)] for i in range(n)]


@pytest.mark.parametrize("step", [-8, -1, 0, 2, 8])
def test_where_each_row_looks(step: int) -> None:
    assert head_value(METRIC, by_hand(shifted(14, step))) == step


def test_of_equal_offsets_the_nearest_to_the_token() -> None:
    assert head_value(METRIC, by_hand([[1 / 11] * 11] * 11)) == 0


def test_no_row_has_none() -> None:
    assert math.isnan(head_value(METRIC, by_hand([[0.0]], [[False]])))
