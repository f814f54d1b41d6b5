"""`alignment_distance` on rows that one can work out by hand."""

from __future__ import annotations

import math

import pytest
from made_rows import block, by_hand, head_value, part, row_values, undefined

from attncli.metrics.alignment_distance import METRIC


def test_the_middle_row_of_three() -> None:
    one = by_hand([[1.0, 0.0, 0.0], [0.0, 0.5, 0.5], [1.0, 0.0, 0.0]])
    assert row_values(METRIC, one, "cross") == pytest.approx([0, 0.25, 1])


def test_lengths_are_those_of_the_text_not_of_the_block() -> None:
    one = by_hand([[0.0, 1.0]] * 5)
    last = part(block([one], "cross", padding=(2, 3)), 3, 5)
    assert METRIC.compute(last)[0, 0].tolist() == pytest.approx([0.25, 0])


def test_one_query_or_one_key_has_no_line() -> None:
    assert undefined(row_values(METRIC, by_hand([[0.5, 0.5]]), "cross")) == [True]
    assert undefined(row_values(METRIC, by_hand([[1.0], [1.0]]), "cross")) == [True, True]


def test_self_attention_has_none() -> None:
    assert math.isnan(head_value(METRIC, by_hand([[0.5, 0.5]] * 2), "encoder"))
