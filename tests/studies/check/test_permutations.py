"""Permutation p-values: closed forms, all permutations one by one, and samples that agree with them."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attncli.studies.check import statistics as permuted
from attncli.studies.check.statistics import permutation_p, smallest_p


def random_rows(heads: int, keys: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.full(keys, 0.5), heads)


def p_of_all_orders(rows: np.ndarray, visible: np.ndarray, target: list[int], worst: bool = False) -> float:
    """Return the p-value by a loop over all orders of the visible keys."""
    seen = np.flatnonzero(visible).tolist()
    combine = min if worst else max
    observed = combine(sum(row[key] for key in target) for row in rows)
    hits = total = 0
    for order in itertools.permutations(seen):
        to = dict(zip(seen, order, strict=True))
        total += 1
        hits += combine(sum(row[to[key]] for key in target) for row in rows) >= observed - 1e-12
    return hits / total


@pytest.mark.parametrize("heads", [1, 5])
def test_uniform_heads_have_p_1(heads: int) -> None:
    assert permutation_p(np.full((heads, 9), 1 / 9), np.ones(9, bool), [4]) == 1


def test_a_head_with_all_weight_on_the_target_has_p_1_over_the_number_of_keys() -> None:
    assert permutation_p(np.eye(8)[[3]], np.ones(8, bool), [3]) == 1 / 8


@pytest.mark.parametrize("heads", range(1, 9))
def test_the_heads_searched_count_as_trials(heads: int) -> None:
    # each head has all its weight on another key, so a random key is one of these in `heads` of 8 cases
    assert permutation_p(np.eye(8)[:heads], np.ones(8, bool), [0]) == heads / 8


def test_heads_with_their_weight_on_the_same_key_are_one_trial() -> None:
    assert permutation_p(np.eye(8)[[3] * 5], np.ones(8, bool), [3]) == 1 / 8


@pytest.mark.parametrize("target", [[0], [2], [1, 4]])
@pytest.mark.parametrize("worst", [False, True])
def test_p_equals_the_share_of_all_orders(target: list[int], worst: bool) -> None:
    rows, visible = random_rows(3, 7), np.array([1, 1, 1, 0, 1, 1, 0], bool)
    found = permutation_p(rows * visible, visible, target, "all" if worst else "any")
    assert found == pytest.approx(p_of_all_orders(rows * visible, visible, target, worst))


def test_masked_keys_are_not_permuted() -> None:
    rows = np.array([[0.6, 0.4, 0.0, 0.0, 0.0]])
    assert permutation_p(rows, np.array([1, 1, 0, 0, 0], bool), [0]) == 1 / 2
    assert permutation_p(rows, np.ones(5, bool), [0]) == 1 / 5


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("noise", [-9e-6, -1e-7, 0.0, 1e-7, 9e-6])
def test_a_key_that_gets_as_much_within_the_tolerance_counts_against_the_target(
    noise: float, exact: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not exact:
        monkeypatch.setattr(permuted, "EXACT_UP_TO", 1)
    rows = np.array([[0.4, 0.4 + noise, 0.1, 0.1]])
    expected = pytest.approx(1 / 2, abs=0.02)
    assert permutation_p(rows, np.ones(4, bool), [0]) == expected
    if noise < -1e-6:
        assert permutation_p(rows, np.ones(4, bool), [0], tolerance=1e-6) == pytest.approx(1 / 4, abs=0.02)


def test_samples_agree_with_all_permutations(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, visible = random_rows(4, 12, 1), np.ones(12, bool)
    exact = permutation_p(rows, visible, [2, 3])
    monkeypatch.setattr(permuted, "EXACT_UP_TO", 1)
    sampled = permutation_p(rows, visible, [2, 3])
    assert sampled == permutation_p(rows, visible, [2, 3])
    assert sampled == pytest.approx(exact, abs=3 * math.sqrt(exact * (1 - exact) / permuted.SAMPLES) + 1e-4)
    assert sampled != exact


def test_many_sets_are_sampled_and_p_is_never_zero() -> None:
    rows = np.zeros((1, 400))
    rows[0, :3] = 1 / 3
    assert permutation_p(rows, np.ones(400, bool), [0, 1, 2]) == 1 / (1 + permuted.SAMPLES) == smallest_p(400, 3)


@given(st.integers(1, 6), st.integers(2, 9), st.integers(0, 99))
def test_p_is_between_the_smallest_p_and_1(heads: int, keys: int, seed: int) -> None:
    rows = random_rows(heads, keys, seed)
    found = permutation_p(rows, np.ones(keys, bool), [seed % keys])
    assert smallest_p(keys, 1) <= found <= 1


def test_p_is_uniform_under_the_null_hypothesis() -> None:
    rng = np.random.default_rng(3)
    found = [permutation_p(rng.dirichlet(np.ones(20), 6), np.ones(20, bool), [0]) for _ in range(600)]
    for level in (0.1, 0.25, 0.5):
        assert np.mean(np.array(found) <= level) == pytest.approx(level, abs=0.06)
