"""Intervals and tests from moments: against SciPy on the values themselves, and against bootstrap samples."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from attncli.engine.moment_tests import MeanTest, difference_test, mean_test, standardised, stratified_test
from attncli.stream.sums import Moments

Array = np.ndarray


def moments(*parts: Array) -> Moments:
    """Return the moments of values [text, cell], added part by part."""
    result = Moments(parts[0].shape[1:])
    for part in parts:
        result.add(part)
    return result


@pytest.fixture(scope="module")
def samples() -> tuple[Array, Array]:
    rng = np.random.default_rng(5)
    a, b = rng.exponential(size=(1500, 3)), 1.2 * rng.exponential(size=(1100, 3)) + [0, 0.1, 0.5]
    a[:1496, 2] = np.nan
    a[7, 0] = b[9, 1] = np.nan
    return a, b


def test_two_corpora_are_tested_as_scipy_does(samples: tuple[Array, Array]) -> None:
    a, b = samples
    found = difference_test(moments(a[:400], a[400:]), moments(b))
    for cell in (0, 1):
        expected = scipy.stats.ttest_ind(b[:, cell], a[:, cell], equal_var=False, nan_policy="omit")
        interval = expected.confidence_interval(0.95)
        assert found.p[cell] == pytest.approx(expected.pvalue, rel=1e-9)
        assert (found.low[cell], found.high[cell]) == pytest.approx((interval.low, interval.high), rel=1e-9)
    assert np.isfinite(found.mean[2])
    assert np.isnan([found.low[2], found.high[2], found.p[2]]).all()  # 4 texts in a


def test_intervals_are_those_of_the_bootstrap(samples: tuple[Array, Array]) -> None:
    rng, (a, b) = np.random.default_rng(0), samples
    x, y = a[:, 1], b[:, 0]
    means = [
        np.concatenate([of_side[rng.integers(0, len(of_side), (500, len(of_side)))].mean(1) for _ in range(20)])
        for of_side in (x, y)
    ]
    differences = difference_test(moments(x[:, None]), moments(y[:, None]))
    for test, drawn in ((mean_test(moments(x[:, None])), means[0]), (differences, means[1] - means[0])):
        width = test.high[0] - test.low[0]
        assert (test.low[0], test.high[0]) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])), abs=width / 50)


def test_paired_changes_are_tested_as_scipy_does() -> None:
    rng = np.random.default_rng(1)
    a = rng.random((9, 2))
    b = a + rng.normal(0.2, 0.1, (9, 2))
    found = mean_test(moments(b[:2] - a[:2], b[2:] - a[2:]))
    expected = scipy.stats.ttest_rel(b, a)
    np.testing.assert_allclose(found.p, expected.pvalue, rtol=1e-9)
    np.testing.assert_allclose([found.low, found.high], expected.confidence_interval(0.95), rtol=1e-9)


def test_where_no_text_changes_nothing_is_found_and_equal_changes_are_certain() -> None:
    found = mean_test(moments(np.stack([np.zeros(6), np.full(6, 0.5)], axis=1)))
    assert (found.p.tolist(), found.low.tolist(), found.high.tolist()) == ([1.0, 0.0], [0.0, 0.5], [0.0, 0.5])


def test_the_effect_is_in_units_of_the_spread_over_texts() -> None:
    a, b = np.array([1.0, 2.0, 3.0, 6.0]), np.array([4.0, 4.0, 7.0])
    sides = moments(a[:, None]), moments(b[:, None])
    expected = (b.mean() - a.mean()) / np.sqrt((a.var(ddof=1) + b.var(ddof=1)) / 2)
    assert standardised(sides[1].mean - sides[0].mean, *sides)[0] == pytest.approx(expected)
    flat = moments(np.full((3, 1), 2.0))
    assert np.isnan(standardised(np.array([0.1]), flat, flat)[0])
    assert standardised(np.array([0.0]), flat, flat)[0] == 0


def stratified(groups: list[tuple[Array, Array]]) -> MeanTest:
    return stratified_test([(moments(a[:, None]), moments(b[:, None])) for a, b in groups])


def test_texts_are_compared_within_groups() -> None:
    rng = np.random.default_rng(2)
    groups = [(rng.random(5), rng.random(9) + 1), (rng.random(8) + 9, rng.random(3) + 9.5)]
    alone = (rng.random(1), rng.random(4))
    total = weighted = variance = squares = 0.0
    for a, b in groups:
        weight = len(a) * len(b) / (len(a) + len(b))
        total += weight
        weighted += weight * (b.mean() - a.mean())
        for side in (a, b):
            error = weight**2 * side.var(ddof=1) / len(side)
            variance += error
            squares += error**2 / (len(side) - 1)
    found = stratified([*groups, alone])
    assert found.mean[0] == pytest.approx(weighted / total)
    half = (found.high[0] - found.low[0]) / 2
    quantile = scipy.stats.t.ppf(0.975, variance**2 / squares)
    assert half == pytest.approx(quantile * np.sqrt(variance) / total, rel=1e-9)
    assert np.isnan(stratified([alone]).mean[0])
    b = np.array([2.0, 3.0, 5.0, 6.0, 6.0, 9.0])
    one, pair = stratified([(b - 1, b)]), difference_test(moments(b[:, None] - 1), moments(b[:, None]))
    assert (one.low[0], one.high[0], one.p[0]) == pytest.approx((pair.low[0], pair.high[0], pair.p[0]))
