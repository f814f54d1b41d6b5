"""`effective_keys`: its reference, and rows computed by hand."""

from __future__ import annotations

import math

import pytest
from made_rows import by_hand, head_value, row_values
from metrics.test_entropy import naive as naive_entropy
from naive_metrics import TOKENS, Case, Mask, Matrix, Special, Value

from attncli.metrics.effective_keys import METRIC


def naive(weights: Matrix, visible: Mask, special: Special) -> list[Value]:
    return [None if value is None else math.exp(value) for value in naive_entropy(weights, visible, special)]


CASE = Case(naive, uniform=TOKENS, last_key=1)


def test_a_quarter_each_is_four_keys() -> None:
    assert row_values(METRIC, by_hand([[0.25] * 4])) == pytest.approx([4])


def test_a_head_has_the_mean_over_rows_not_the_exponential_of_the_mean() -> None:
    assert head_value(METRIC, by_hand([[1.0, 0.0], [0.5, 0.5]])) == pytest.approx(1.5)
