"""Permutations of keys: closed forms, every permutation by hand, and what the samples agree with."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attncli.studies.check import permutations as permuted
from attncli.studies.check.permutations import permutation_p, smallest_p


def random_rows(heads: int, keys: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.full(keys, 0.5), heads)


def by_hand(rows: np.ndarray, visible: np.ndarray, target: list[int], worst: bool = False) -> float:
    """Over all orders of the visible keys, one by one."""
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
def test_even_heads_stand_above_nothing(heads: int) -> None:
    assert permutation_p(np.full((heads, 9), 1 / 9), np.ones(9, bool), [4]) == 1


def test_one_head_that_looks_at_the_target_alone_is_one_chance_in_so_many_keys() -> None:
    assert permutation_p(np.eye(8)[[3]], np.ones(8, bool), [3]) == 1 / 8


@pytest.mark.parametrize("heads", range(1, 9))
def test_the_heads_searched_count_as_trials(heads: int) -> None:
    # each looks at a key of its own: chance finds one of them in so many of 8 cases
    assert permutation_p(np.eye(8)[:heads], np.ones(8, bool), [0]) == heads / 8


def test_heads_that_look_at_the_same_key_are_one_trial() -> None:
    assert permutation_p(np.eye(8)[[3] * 5], np.ones(8, bool), [3]) == 1 / 8


@pytest.mark.parametrize("target", [[0], [2], [1, 4]])
@pytest.mark.parametrize("worst", [False, True])
def test_all_permutations_by_hand_give_the_same(target: list[int], worst: bool) -> None:
    rows, visible = random_rows(3, 7), np.array([1, 1, 1, 0, 1, 1, 0], bool)
    found = permutation_p(rows * visible, visible, target, "all" if worst else "any")
    assert found == pytest.approx(by_hand(rows * visible, visible, target, worst))


def test_keys_that_are_not_seen_are_not_permuted() -> None:
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


def test_of_too_many_sets_samples_are_drawn_and_p_is_never_zero() -> None:
    rows = np.zeros((1, 400))
    rows[0, :3] = 1 / 3
    assert permutation_p(rows, np.ones(400, bool), [0, 1, 2]) == 1 / (1 + permuted.SAMPLES) == smallest_p(400, 3)


@given(st.integers(1, 6), st.integers(2, 9), st.integers(0, 99))
def test_p_is_a_share_and_no_smaller_than_it_can_be(heads: int, keys: int, seed: int) -> None:
    rows = random_rows(heads, keys, seed)
    found = permutation_p(rows, np.ones(keys, bool), [seed % keys])
    assert smallest_p(keys, 1) <= found <= 1


def test_under_the_null_p_is_as_often_small_as_it_says() -> None:
    rng = np.random.default_rng(3)
    found = [permutation_p(rng.dirichlet(np.ones(20), 6), np.ones(20, bool), [0]) for _ in range(600)]
    for level in (0.1, 0.25, 0.5):
        assert np.mean(np.array(found) <= level) == pytest.approx(level, abs=0.06)
