"""`missing_mass` on rows that one can work out by hand."""

from __future__ import annotations

import pytest
from made_rows import by_hand, row_values

from attncli.metrics.missing_mass import METRIC


def test_what_a_learned_sink_took() -> None:
    assert row_values(METRIC, by_hand([[0.5, 0.25], [0.5, 0.5], [0.0, 0.0]])) == pytest.approx([0.25, 0, 1])
