"""`sink`: its reference, and rows computed by hand."""

from __future__ import annotations

import math

import pytest
from made_rows import by_hand, causal, head_value
from metrics.test_received import naive as naive_received
from naive_metrics import TOKENS, Case, Mask, Matrix, Special, Value, min_rows

from attncli.metrics.sink import METRIC


def naive_candidates(weights: Matrix, visible: Mask, special: Special) -> dict[int, float]:
    """Return what each key receives that enough rows see."""
    return {
        k: value
        for k, value in enumerate(naive_received(weights, visible, special))
        if value is not None and sum(row[k] for row in visible) >= min_rows(visible, 0.05)
    }


def naive(weights: Matrix, visible: Mask, special: Special) -> Value:
    return max(naive_candidates(weights, visible, special).values(), default=None)


CASE = Case(naive, uniform=1 / TOKENS, last_key=1)


def test_the_key_that_gets_most() -> None:
    assert head_value(METRIC, by_hand([[1.0, 0.0], [0.5, 0.5]])) == pytest.approx(0.75)


@pytest.mark.parametrize(("key", "expected"), [(190, 1), (191, 191 / 200)])
def test_keys_that_few_of_many_rows_see_do_not_count(key: int, expected: float) -> None:
    # all rows that see the key give it everything: 10 of 200 rows see key 190, which is 5 %, and 9 see key 191
    rows = [[1.0] + [0.0] * 199 for _ in range(key)]
    rows += [[float(other == key) for other in range(200)] for _ in range(key, 200)]
    assert head_value(METRIC, by_hand(rows, causal(200)), "decoder") == pytest.approx(expected)


def test_late_causal_keys_do_not_count() -> None:
    on_itself = [[float(i == j) for j in range(8)] for i in range(8)]
    on_first = [[1.0] + [0.0] * 7 for _ in range(4)]
    # keys 4 to 7 get all from the rows that see them, but only 4 to 1 rows do; key 0 gets 4/8 of all
    assert head_value(METRIC, by_hand(on_first + on_itself[4:], causal(8)), "decoder") == pytest.approx(0.5)


def test_in_a_text_of_three_all_rows_must_see_the_key() -> None:
    text = by_hand([[1.0, 0.0, 0.0], [0.25, 0.75, 0.0], [0.25, 0.0, 0.75]], causal(3))
    assert head_value(METRIC, text, "decoder") == pytest.approx(0.5)


def test_without_a_key_that_all_rows_see_it_is_undefined() -> None:
    text = by_hand([[1.0, 0.0], [0.0, 1.0]], [[True, False], [False, True]])
    assert math.isnan(head_value(METRIC, text))
