"""`distance` on rows that one can work out by hand."""

from __future__ import annotations

import math

import pytest
from made_rows import by_hand, head_value, row_values

from attncli.metrics.distance import METRIC


def test_half_two_away_and_half_here_is_one_token() -> None:
    one = by_hand([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.5, 0.0, 0.5]])
    assert row_values(METRIC, one) == pytest.approx([0, 0, 1])


def test_both_sides_count_alike() -> None:
    one = by_hand([[0.0, 0.0, 1.0], [0.5, 0.0, 0.5], [1.0, 0.0, 0.0]])
    assert row_values(METRIC, one) == pytest.approx([2, 1, 2])


def test_what_a_sink_took_does_not_shorten_it() -> None:
    assert row_values(METRIC, by_hand([[0.0, 0.25, 0.25]])) == pytest.approx([1.5])


def test_cross_attention_has_none() -> None:
    assert math.isnan(head_value(METRIC, by_hand([[0.5, 0.5]]), "cross"))
