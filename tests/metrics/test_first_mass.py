"""`first_mass`: its reference, and rows computed by hand."""

from __future__ import annotations

import math

import pytest
from made_rows import by_hand, causal, row_values
from naive_metrics import TOKENS, Case, Mask, Matrix, Special, Value, by_row

from attncli.metrics.first_mass import METRIC


def naive(weights: Matrix, visible: Mask, special: Special) -> list[Value]:
    return by_row(visible, lambda i: weights[i][0] if visible[i][0] and sum(visible[i]) > 1 else None)


CASE = Case(naive, uniform=1 / TOKENS, last_key=0)


def test_a_row_that_sees_one_key_is_undefined() -> None:
    text = by_hand([[1.0, 0.0, 0.0], [0.75, 0.25, 0.0], [0.5, 0.25, 0.25]], causal(3))
    assert row_values(METRIC, text, "decoder") == pytest.approx([math.nan, 0.75, 0.5], nan_ok=True)


def test_a_row_whose_window_does_not_reach_the_first_key_is_undefined() -> None:
    visible = [[True, True, False], [True, True, False], [False, True, True]]
    text = by_hand([[0.5, 0.5, 0.0], [0.5, 0.5, 0.0], [0.0, 0.5, 0.5]], visible)
    assert row_values(METRIC, text) == pytest.approx([0.5, 0.5, math.nan], nan_ok=True)
