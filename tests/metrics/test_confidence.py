"""`confidence`: its reference, and rows computed by hand."""

from __future__ import annotations

import pytest
from made_rows import by_hand, row_values
from naive_metrics import TOKENS, Case, Mask, Matrix, Special, Value, by_row

from attncli.metrics.confidence import METRIC


def naive(weights: Matrix, visible: Mask, special: Special) -> list[Value]:
    return by_row(visible, lambda i: max(weights[i]))


CASE = Case(naive, uniform=1 / TOKENS, last_key=1)


def test_the_largest_weight() -> None:
    assert row_values(METRIC, by_hand([[0.5, 0.25, 0.25], [0.0, 0.0, 1.0]])) == pytest.approx([0.5, 1])
