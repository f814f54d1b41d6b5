"""`previous_mass`: its reference, and rows computed by hand."""

from __future__ import annotations

import math

import pytest
from made_rows import by_hand, head_value, row_values
from naive_metrics import SELF_ATTENTION, TOKENS, Case, Mask, Matrix, Special, Value, at_offset

from attncli.metrics.previous_mass import METRIC


def naive(weights: Matrix, visible: Mask, special: Special) -> list[Value]:
    return at_offset(weights, visible, -1)


CASE = Case(naive, uniform=[math.nan] + [1 / TOKENS] * 5, last_key=[math.nan] + [0] * 5, kinds=SELF_ATTENTION)


def test_the_first_token_has_no_previous_token() -> None:
    text = by_hand([[0.5, 0.5], [0.25, 0.75]])
    assert row_values(METRIC, text) == pytest.approx([math.nan, 0.25], nan_ok=True)


def test_a_head_has_the_mean_over_rows_with_a_previous_token() -> None:
    text = by_hand([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.5, 0.5]])
    assert head_value(METRIC, text) == pytest.approx(0.75)
