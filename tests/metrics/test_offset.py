"""`offset`: its reference, and rows computed by hand."""

from __future__ import annotations

import pytest
from made_rows import by_hand, row_values
from naive_metrics import SELF_ATTENTION, TOKENS, Case, Mask, Matrix, Special, Value, weighted_mean

from attncli.metrics.offset import METRIC


def naive(weights: Matrix, visible: Mask, special: Special) -> list[Value]:
    return weighted_mean(weights, visible, lambda i, j: j - i)


CASE = Case(
    naive,
    uniform=[2.5 - i for i in range(TOKENS)],
    last_key=[5 - i for i in range(TOKENS)],
    kinds=SELF_ATTENTION,
)


def test_keys_before_are_negative_and_keys_after_positive() -> None:
    text = by_hand([[0.0, 0.0, 0.0, 1.0], [1.0, 0.0, 0.0, 0.0], [0.0, 0.75, 0.0, 0.25], [0.0, 0.0, 0.0, 1.0]])
    assert row_values(METRIC, text) == pytest.approx([3, -1, -0.5, 0])


def test_both_sides_cancel() -> None:
    assert row_values(METRIC, by_hand([[0.0, 1.0, 0.0], [0.5, 0.0, 0.5]]))[1] == pytest.approx(0)


def test_the_mass_of_a_learned_sink_does_not_shorten_it() -> None:
    assert row_values(METRIC, by_hand([[0.0, 0.25, 0.25]])) == pytest.approx([1.5])
