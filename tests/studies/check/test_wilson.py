"""The interval of a rate: against SciPy, and at its ends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from attncli.studies.check.wilson import wilson


@given(st.integers(1, 500), st.data())
def test_the_interval_is_that_of_scipy(of: int, data: st.DataObject) -> None:
    held = data.draw(st.integers(0, of))
    theirs = binomtest(held, of).proportion_ci(0.95, method="wilson")
    assert wilson(held, of) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_nothing_known_is_everything_possible() -> None:
    assert wilson(0, 0) == (0, 1)


def test_the_ends_are_reached() -> None:
    assert wilson(0, 7)[0] == 0
    assert wilson(7, 7)[1] == 1
