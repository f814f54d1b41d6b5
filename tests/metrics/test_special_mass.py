"""`special_mass`: its reference, and rows computed by hand."""

from __future__ import annotations

import pytest
from made_rows import by_hand, row_values, undefined
from naive_metrics import TOKENS, Case, Mask, Matrix, Special, Value, by_row

from attncli.metrics.special_mass import METRIC


def naive(weights: Matrix, visible: Mask, special: Special) -> list[Value]:
    if not any(special):
        return [None] * len(weights)
    return by_row(visible, lambda i: sum(weight for j, weight in enumerate(weights[i]) if special[j]))


CASE = Case(naive, uniform=2 / TOKENS, last_key=1)


def test_both_ends_are_special() -> None:
    assert row_values(METRIC, by_hand([[0.5, 0.25, 0.25]], special=[0, 2])) == pytest.approx([0.75])


def test_a_text_without_special_tokens_is_undefined() -> None:
    assert undefined(row_values(METRIC, by_hand([[0.5, 0.5]]))) == [True]
