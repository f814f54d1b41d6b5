"""The Wilson interval of a proportion: against SciPy, and at its ends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from attncli.studies.check.statistics import wilson


@given(st.integers(1, 500), st.data())
def test_the_interval_equals_that_of_scipy(trials: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, trials))
    heads = data.draw(st.sampled_from([1, 2, 72]))
    expected = binomtest(successes, trials).proportion_ci(1 - 0.05 / heads, method="wilson")
    assert wilson(successes, trials, heads) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_no_trials_give_the_whole_range() -> None:
    assert wilson(0, 0) == (0, 1)


def test_the_ends_are_reached() -> None:
    assert wilson(0, 7)[0] == 0
    assert wilson(7, 7)[1] == 1
