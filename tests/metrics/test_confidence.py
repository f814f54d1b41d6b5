"""`confidence` on rows that one can work out by hand."""

from __future__ import annotations

import pytest
from made_rows import by_hand, row_values

from attncli.metrics.confidence import METRIC


def test_the_largest_weight() -> None:
    assert row_values(METRIC, by_hand([[0.5, 0.25, 0.25], [0.0, 0.0, 1.0]])) == pytest.approx([0.5, 1])
