"""`local_mass` on rows that one can work out by hand."""

from __future__ import annotations

import pytest
from made_rows import block, by_hand, row_values

from attncli.metrics.local_mass import METRIC, local_mass


def test_two_tokens_to_either_side() -> None:
    assert row_values(METRIC, by_hand([[0.25] * 4] * 4)) == pytest.approx([0.75, 1, 1, 0.75])


@pytest.mark.parametrize(("window", "expected"), [(0, 0.25), (1, 0.5), (3, 1.0)])
def test_the_window_can_be_set(window: int, expected: float) -> None:
    rows = block([by_hand([[0.25] * 4] * 4)])
    assert local_mass(rows, window=window)[0, 0, 0].item() == pytest.approx(expected)
