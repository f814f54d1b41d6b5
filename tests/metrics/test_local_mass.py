"""`local_mass`: its reference, and rows computed by hand."""

from __future__ import annotations

import pytest
from made_rows import block, by_hand, row_values
from naive_metrics import SELF_ATTENTION, TOKENS, Case, Mask, Matrix, Special, Value, by_row

from attncli.metrics.local_mass import METRIC, local_mass


def naive(weights: Matrix, visible: Mask, special: Special) -> list[Value]:
    return by_row(visible, lambda i: sum(weight for j, weight in enumerate(weights[i]) if abs(i - j) <= 2))


CASE = Case(
    naive,
    uniform=[count / TOKENS for count in (3, 4, 5, 5, 4, 3)],
    last_key=[0, 0, 0, 1, 1, 1],
    kinds=SELF_ATTENTION,
)


def test_two_tokens_on_either_side() -> None:
    assert row_values(METRIC, by_hand([[0.25] * 4] * 4)) == pytest.approx([0.75, 1, 1, 0.75])


@pytest.mark.parametrize(("window", "expected"), [(0, 0.25), (1, 0.5), (3, 1.0)])
def test_the_window_can_be_set(window: int, expected: float) -> None:
    rows = block([by_hand([[0.25] * 4] * 4)])
    assert local_mass(rows, window=window)[0, 0, 0].item() == pytest.approx(expected)
