"""`next_mass`: its reference, and rows computed by hand."""

from __future__ import annotations

import math

import pytest
from made_rows import by_hand, causal, head_value, row_values
from naive_metrics import SELF_ATTENTION, TOKENS, Case, Mask, Matrix, Special, Value, at_offset

from attncli.metrics.next_mass import METRIC


def naive(weights: Matrix, visible: Mask, special: Special) -> list[Value]:
    return at_offset(weights, visible, 1)


CASE = Case(naive, uniform=[1 / TOKENS] * 5 + [math.nan], last_key=[0, 0, 0, 0, 1, math.nan], kinds=SELF_ATTENTION)


def test_the_last_token_has_no_next_token() -> None:
    text = by_hand([[0.25, 0.75], [0.5, 0.5]])
    assert row_values(METRIC, text) == pytest.approx([0.75, math.nan], nan_ok=True)


def test_causal_heads_are_undefined() -> None:
    text = by_hand([[1.0, 0.0], [0.5, 0.5]], causal(2))
    assert math.isnan(head_value(METRIC, text, "decoder"))
