"""`distance`: its reference, and rows computed by hand."""

from __future__ import annotations

import math

import pytest
from made_rows import by_hand, head_value, row_values
from naive_metrics import SELF_ATTENTION, TOKENS, Case, Mask, Matrix, Special, Value, weighted_mean

from attncli.metrics.distance import METRIC


def naive(weights: Matrix, visible: Mask, special: Special) -> list[Value]:
    return weighted_mean(weights, visible, lambda i, j: abs(i - j))


CASE = Case(
    naive,
    uniform=[total / TOKENS for total in (15, 11, 9, 9, 11, 15)],
    last_key=[5 - i for i in range(TOKENS)],
    kinds=SELF_ATTENTION,
)


def test_half_two_tokens_away_and_half_on_itself_is_one_token() -> None:
    text = by_hand([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.5, 0.0, 0.5]])
    assert row_values(METRIC, text) == pytest.approx([0, 0, 1])


def test_both_sides_count_equally() -> None:
    text = by_hand([[0.0, 0.0, 1.0], [0.5, 0.0, 0.5], [1.0, 0.0, 0.0]])
    assert row_values(METRIC, text) == pytest.approx([2, 1, 2])


def test_the_mass_of_a_learned_sink_does_not_shorten_it() -> None:
    assert row_values(METRIC, by_hand([[0.0, 0.25, 0.25]])) == pytest.approx([1.5])


def test_cross_attention_is_undefined() -> None:
    assert math.isnan(head_value(METRIC, by_hand([[0.5, 0.5]]), "cross"))
