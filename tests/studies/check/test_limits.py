"""Comparisons with a tolerance: each sign on both sides of its border, absolute and relative."""

from __future__ import annotations

import numpy as np
import pytest

from attncli.studies.check.weights import margins


@pytest.mark.parametrize("limit", [0.0, 0.3, 0.676849, 1.0, 3.5, 512.0, -3.0])
@pytest.mark.parametrize("tolerance", [0.0, 1e-5, 1e-3])
@pytest.mark.parametrize(
    ("sign", "below", "equal", "above"),
    [("<", True, False, False), ("<=", True, True, False), (">", False, False, True), (">=", False, True, True)],
)
def test_a_value_within_the_tolerance_of_a_limit_is_equal_to_it(
    sign: str, below: bool, equal: bool, above: bool, limit: float, tolerance: float
) -> None:
    slack = tolerance * max(1.0, abs(limit))
    values = limit + np.array([-slack - 1e-6, -slack, -slack / 2, 0.0, slack / 2, slack, slack + 1e-6])
    kept = margins(values, sign, limit, tolerance) >= 0
    assert kept.tolist() == [below, *[equal] * 5, above]


def test_a_strict_sign_is_the_opposite_of_the_other_one() -> None:
    values = np.linspace(0.2999, 0.3001, 2001)
    for strict, other in (("<", ">="), (">", "<=")):
        kept, broken = (margins(values, sign, 0.3, 1e-5) >= 0 for sign in (strict, other))
        assert (kept != broken).all()


def test_what_is_undefined_stays_undefined() -> None:
    for sign in ("<", "<=", ">", ">="):
        assert np.isnan(margins(np.array([np.nan]), sign, 0.3, 1e-5)).all()
