"""`next_mass` on rows that one can work out by hand."""

from __future__ import annotations

import math

import pytest
from made_rows import by_hand, causal, head_value, row_values

from attncli.metrics.next_mass import METRIC


def test_the_last_token_has_none_after_it() -> None:
    one = by_hand([[0.25, 0.75], [0.5, 0.5]])
    assert row_values(METRIC, one) == pytest.approx([0.75, math.nan], nan_ok=True)


def test_causal_heads_have_none() -> None:
    one = by_hand([[1.0, 0.0], [0.5, 0.5]], causal(2))
    assert math.isnan(head_value(METRIC, one, "decoder"))
