"""`entropy_normalized`: its reference, and rows computed by hand."""

from __future__ import annotations

import math

import pytest
from made_rows import by_hand, causal, row_values
from metrics.test_entropy import naive as naive_entropy
from naive_metrics import Case, Mask, Matrix, Special, Value

from attncli.metrics.entropy_normalized import METRIC


def naive(weights: Matrix, visible: Mask, special: Special) -> list[Value]:
    entropies, counts = naive_entropy(weights, visible, special), map(sum, visible)
    return [
        value / math.log(count) if value is not None and count > 1 else None
        for value, count in zip(entropies, counts, strict=True)
    ]


# a row of two keys that share what a learned sink left can exceed 1, as the page of the metric says
CASE = Case(naive, uniform=1, last_key=0, largest=1.062)


def test_uniform_over_half_of_four_keys_is_a_half() -> None:
    assert row_values(METRIC, by_hand([[0.5, 0.5, 0.0, 0.0]])) == pytest.approx([0.5])


def test_the_divisor_counts_visible_keys() -> None:
    text = by_hand([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [1 / 3] * 3], causal(3))
    assert row_values(METRIC, text, "decoder") == pytest.approx([math.nan, 1, 1], nan_ok=True)
