"""`alignment_distance`: its reference, and rows computed by hand."""

from __future__ import annotations

import math

import pytest
from made_rows import block, by_hand, head_value, part, row_values, undefined
from naive_metrics import TOKENS, Case, Mask, Matrix, Special, Value, by_row

from attncli.metrics.alignment_distance import METRIC


def naive(weights: Matrix, visible: Mask, special: Special) -> list[Value]:
    n, m = len(weights), len(special)
    if n == 1 or m == 1:
        return [None] * n
    return by_row(visible, lambda i: sum(w * abs(i / (n - 1) - j / (m - 1)) for j, w in enumerate(weights[i])))


CASE = Case(
    naive,
    uniform=[total / TOKENS / 5 for total in (15, 11, 9, 9, 11, 15)],
    last_key=[(5 - i) / 5 for i in range(TOKENS)],
    kinds=("cross",),
)


def test_the_middle_row_of_three() -> None:
    text = by_hand([[1.0, 0.0, 0.0], [0.0, 0.5, 0.5], [1.0, 0.0, 0.0]])
    assert row_values(METRIC, text, "cross") == pytest.approx([0, 0.25, 1])


def test_lengths_are_those_of_the_text_not_of_the_block() -> None:
    text = by_hand([[0.0, 1.0]] * 5)
    last = part(block([text], "cross", padding=(2, 3)), 3, 5)
    assert METRIC.compute(last)[0, 0].tolist() == pytest.approx([0.25, 0])


def test_one_query_or_one_key_is_undefined() -> None:
    assert undefined(row_values(METRIC, by_hand([[0.5, 0.5]]), "cross")) == [True]
    assert undefined(row_values(METRIC, by_hand([[1.0], [1.0]]), "cross")) == [True, True]


def test_self_attention_is_undefined() -> None:
    assert math.isnan(head_value(METRIC, by_hand([[0.5, 0.5]] * 2), "encoder"))
