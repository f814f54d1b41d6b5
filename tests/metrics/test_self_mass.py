"""`self_mass`: its reference, and rows computed by hand."""

from __future__ import annotations

import pytest
from made_rows import by_hand, row_values, undefined
from naive_metrics import SELF_ATTENTION, TOKENS, Case, Mask, Matrix, Special, Value, at_offset

from attncli.metrics.self_mass import METRIC


def naive(weights: Matrix, visible: Mask, special: Special) -> list[Value]:
    return at_offset(weights, visible, 0)


CASE = Case(naive, uniform=1 / TOKENS, last_key=[0, 0, 0, 0, 0, 1], kinds=SELF_ATTENTION)


def test_the_diagonal() -> None:
    assert row_values(METRIC, by_hand([[0.5, 0.5], [0.25, 0.75]])) == pytest.approx([0.5, 0.75])


def test_a_row_whose_own_key_is_masked_is_undefined() -> None:
    text = by_hand([[0.0, 1.0], [1.0, 0.0]], [[False, True], [True, False]])
    assert undefined(row_values(METRIC, text)) == [True, True]
