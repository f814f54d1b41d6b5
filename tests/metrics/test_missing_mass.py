"""`missing_mass`: its reference, and rows computed by hand."""

from __future__ import annotations

import pytest
from made_rows import by_hand, row_values
from naive_metrics import Case, Mask, Matrix, Special, Value, by_row

from attncli.metrics.missing_mass import METRIC


def naive(weights: Matrix, visible: Mask, special: Special) -> list[Value]:
    return by_row(visible, lambda i: 1 - sum(weights[i]))


CASE = Case(naive, uniform=0, last_key=0)


def test_the_mass_of_a_learned_sink() -> None:
    assert row_values(METRIC, by_hand([[0.5, 0.25], [0.5, 0.5], [0.0, 0.0]])) == pytest.approx([0.25, 0, 1])
