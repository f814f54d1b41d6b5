"""Intervals and tests over paired texts: by brute force, by hand, and reproducible."""

from __future__ import annotations

import itertools
import sys

import numpy as np
import pytest
import scipy.stats

from attncli.engine import paired_tests
from attncli.engine.paired_tests import adjusted, intervals, sign_flip
from attncli.errors import UsageError

NAN = float("nan")


def brute_force(values: list[float]) -> float:
    """Return the share of all sign changes whose mean is at least as large."""
    observed = abs(sum(values))
    sums = [abs(sum(sign * value for sign, value in zip(signs, values, strict=True))) for signs in flips(len(values))]
    return sum(total >= observed - 1e-12 for total in sums) / len(sums)


def flips(count: int) -> list[tuple[int, ...]]:
    return list(itertools.product((1, -1), repeat=count))


def test_few_texts_are_tested_with_all_sign_changes() -> None:
    values = np.random.default_rng(1).normal(0.4, 1, (5, 8))
    np.testing.assert_allclose(sign_flip(values), [brute_force(row.tolist()) for row in values])
    assert sign_flip(np.ones((1, 6)))[0] == 2 / 64
    assert sign_flip(np.zeros((1, 6)))[0] == 1


def test_many_texts_are_tested_by_seeded_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(2).normal(0.3, 1, (4, 30))
    found = sign_flip(values)
    monkeypatch.setattr(paired_tests, "CELLS", 1000)
    np.testing.assert_array_equal(found, sign_flip(values))
    reference = [
        scipy.stats.permutation_test((row,), np.mean, permutation_type="samples", rng=0).pvalue for row in values
    ]
    np.testing.assert_allclose(found, reference, atol=0.02)
    assert sign_flip(np.full((1, 30), 0.1))[0] == 1 / 10_000


def test_intervals_are_those_of_scipy_and_the_same_each_time() -> None:
    values = np.random.default_rng(3).normal(1, 2, (3, 12))
    found = intervals(values)
    np.testing.assert_array_equal(found, intervals(values))
    assert (found[:, 0] < values.mean(1)).all()
    assert (values.mean(1) < found[:, 1]).all()
    reference = scipy.stats.bootstrap((values[1],), np.mean, method="percentile", n_resamples=5000, rng=7)
    np.testing.assert_allclose(found[1], reference.confidence_interval, atol=0.15)
    np.testing.assert_array_equal(intervals(np.full((1, 6), 0.25)), [[0.25, 0.25]])


def test_intervals_of_a_corpus_are_those_of_the_samples_of_scipy() -> None:
    values = np.random.default_rng(4).normal(1, 2, (2, 1001))
    options = {"method": "percentile", "n_resamples": 2000, "axis": -1, "vectorized": True, "batch": 100}
    reference = scipy.stats.bootstrap((values,), np.mean, rng=np.random.default_rng(0), **options)
    np.testing.assert_allclose(intervals(values), np.transpose(reference.confidence_interval), rtol=1e-12)


def test_texts_without_a_value_do_not_count() -> None:
    values = np.array([[1.0, 2, 3, 4, 5, 6, NAN], [1, 2, 3, 4, 5, NAN, NAN], [0.5] * 7])
    assert sign_flip(values)[[0, 2]].tolist() == [2 / 64, 2 / 128]
    assert np.isnan(sign_flip(values)[1])
    assert np.isnan(intervals(values)[1]).all()
    np.testing.assert_array_equal(intervals(values)[0], intervals(values[:1, :6])[0])
    assert len(sign_flip(np.zeros((0, 6)))) == 0


def test_many_tests_at_once_by_hand() -> None:
    p = np.array([0.01, NAN, 0.04, 0.03, 0.5])
    np.testing.assert_allclose(adjusted(p), [0.04, NAN, 0.16 / 3, 0.16 / 3, 0.5])
    assert np.isnan(adjusted(np.array([NAN, NAN]))).all()


def test_missing_scipy_gives_an_error_with_the_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy", None)
    monkeypatch.setitem(sys.modules, "scipy.stats", None)
    with pytest.raises(UsageError, match=r'pip install "attncli\[analyses\]"'):
        intervals(np.zeros((1, 6)))
