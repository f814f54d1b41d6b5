"""`distance_ratio`: its reference, and rows computed by hand."""

from __future__ import annotations

import math

import pytest
from made_rows import by_hand, causal, row_values
from metrics.test_distance import naive as naive_distance
from naive_metrics import SELF_ATTENTION, TOKENS, Case, Mask, Matrix, Special, Value

from attncli.metrics.distance_ratio import METRIC


def naive(weights: Matrix, visible: Mask, special: Special) -> list[Value]:
    ratios: list[Value] = []
    for i, distance in enumerate(naive_distance(weights, visible, special)):
        distances = [abs(i - j) for j, sees in enumerate(visible[i]) if sees]
        uniform = sum(distances) / max(len(distances), 1)
        ratios.append(distance / uniform if distance is not None and uniform > 0 else None)
    return ratios


CASE = Case(
    naive,
    uniform=1,
    last_key=[(5 - i) / (total / TOKENS) for i, total in enumerate((15, 11, 9, 9, 11, 15))],
    kinds=SELF_ATTENTION,
)


def test_the_last_of_three_causal_rows() -> None:
    text = by_hand([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.5, 0.0, 0.5]], causal(3))
    assert row_values(METRIC, text, "decoder") == pytest.approx([math.nan, 0, 1], nan_ok=True)


def test_the_uniform_distance_is_over_visible_keys_only() -> None:
    text = by_hand([[0.0, 1.0, 0.0]] * 3, [[True, True, False]] * 3)
    assert row_values(METRIC, text) == pytest.approx([1 / 0.5, 0 / 0.5, 1 / 1.5])
