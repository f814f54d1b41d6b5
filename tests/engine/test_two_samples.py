"""The difference between two sets of texts: against all ways to deal them out and the normal approximation."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from attncli.engine.rigidity_table import rigidity_table
from attncli.engine.two_sample_tests import difference_intervals, label_permutation
from attncli.stream.rigidity import Rigidity

Array = np.ndarray


@pytest.fixture(scope="module")
def samples() -> tuple[Array, Array]:
    rng = np.random.default_rng(3)
    a, b = rng.random((3, 12)), rng.random((3, 8)) + np.array([[0.0], [0.3], [0.5]])
    a[1, 2] = np.nan
    return a, b


def all_differences(x: Array, y: Array) -> Array:
    """Return the difference of the means for all ways to deal the values out to two sets of these sizes."""
    values = np.concatenate([x, y])
    ways = np.array(list(itertools.combinations(range(len(values)), len(x))))
    sums = values[ways].sum(1)
    return np.asarray(sums / len(x) - (values.sum() - sums) / len(y))


def test_p_values_are_shares_of_all_ways_to_deal_texts_out(samples: tuple[Array, Array]) -> None:
    found = label_permutation(*samples)
    for p, x, y in zip(found, *samples, strict=True):
        known = x[~np.isnan(x)]
        share = (np.abs(all_differences(known, y)) >= abs(known.mean() - y.mean()) - 1e-12).mean()
        assert p == pytest.approx(share, abs=0.015)
    assert found[0] > 0.05 > 0.01 > found[2]
    assert label_permutation(np.full((1, 6), 0.5), np.full((1, 6), 0.5)) == [1]


def test_of_few_texts_all_ways_count_and_no_p_value_is_zero() -> None:
    a, b = np.arange(6.0) + 10, np.arange(6.0)
    assert label_permutation(a[None], b[None]) == pytest.approx([2 / math.comb(12, 6)])
    many = np.arange(30.0)
    assert label_permutation(many[None] + 100, many[None]) == pytest.approx([1 / 10_000])


def test_intervals_are_about_those_of_the_normal_distribution() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(2, 1, (1, 80)), rng.normal(0, 3, (1, 60))
    ((low, high),) = difference_intervals(a, b)
    half = 1.96 * np.sqrt(a.var() / 80 + b.var() / 60)
    assert (low + high) / 2 == pytest.approx(a.mean() - b.mean(), abs=0.1 * half)
    assert (high - low) / 2 == pytest.approx(half, rel=0.1)


def of_values(values: Array) -> Rigidity:
    return Rigidity((("decoder", 0, 0), ("decoder", 0, 1)), tuple(range(values.shape[1])), values)


def test_the_table_of_rigidity_has_the_difference_and_corrects_for_the_number_of_heads() -> None:
    rng = np.random.default_rng(0)
    training, held_out = of_values(rng.random((2, 10)) * 0.2), of_values(rng.random((2, 8)) * 0.2)
    training.values[1] += 0.5
    table = rigidity_table(training, held_out)
    assert list(zip(table["kind"], table["layer"], table["head"], strict=True)) == list(training.heads)
    assert table["rigidity"] == pytest.approx(training.values.mean(1))
    expected = training.values.mean(1) - held_out.values.mean(1)
    assert table["rigidity_difference"] == pytest.approx(expected)
    within = table["rigidity_difference_low"] < expected, expected < table["rigidity_difference_high"]
    assert np.all(within)
    assert table["rigidity_difference_low"][1] > 0.4
    assert table["rigidity_p_adjusted"][1] == pytest.approx(min(1, 2 * table["rigidity_p"][1]))
    assert table["rigidity_p"][1] < 0.001 < 0.05 < table["rigidity_p"][0]


def test_few_texts_have_means_without_intervals() -> None:
    table = rigidity_table(of_values(np.full((2, 8), 0.5)), of_values(np.full((2, 5), 0.25)))
    assert table["rigidity_difference"].tolist() == [0.25, 0.25]
    assert table["rigidity_low"].tolist() == [0.5, 0.5]
    for name in ("rigidity_held_out_low", "rigidity_difference_low", "rigidity_p", "rigidity_p_adjusted"):
        assert np.isnan(table[name]).all()
    assert set(rigidity_table(of_values(np.full((2, 2), 0.5)))) == {
        *("kind", "layer", "head", "rigidity", "rigidity_low", "rigidity_high")
    }
