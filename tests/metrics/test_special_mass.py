"""`special_mass` on rows that one can work out by hand."""

from __future__ import annotations

import pytest
from made_rows import by_hand, row_values, undefined

from attncli.metrics.special_mass import METRIC


def test_both_ends_are_special() -> None:
    assert row_values(METRIC, by_hand([[0.5, 0.25, 0.25]], special=[0, 2])) == pytest.approx([0.75])


def test_a_text_without_special_tokens_has_none() -> None:
    assert undefined(row_values(METRIC, by_hand([[0.5, 0.5]]))) == [True]
