"""Suites: counts of units, the best head, and its p-value."""

from __future__ import annotations

import numpy as np
import pytest

from attncli.studies.check.trials import Trial, suite_p, unit_counts
from attncli.studies.check.weights import Demand, MeanRows

MORE = Demand(more=True)


def trial(rows: np.ndarray, target: int, other: int, unit: int) -> Trial:
    return Trial(MeanRows.of(rows[:, None], np.ones((1, 1, rows.shape[1]), bool)), (target,), (other,), unit)


def random_trials(cases: int, heads: int, keys: int = 12, seed: int = 0, pairs: bool = False) -> list[Trial]:
    rng = np.random.default_rng(seed)
    return [
        trial(rng.dirichlet(np.ones(keys), heads), 0, 1, number // 2 if pairs else number) for number in range(cases)
    ]


def test_a_unit_holds_if_all_its_cases_hold() -> None:
    holds = [np.array([True, True]), np.array([True, False]), np.array([False, True])]
    assert unit_counts(holds, [7, 7, 8]).tolist() == [1, 1]
    assert unit_counts(holds, [7, 8, 9]).tolist() == [2, 2]


def test_a_head_that_is_always_right_has_a_small_p() -> None:
    trials = random_trials(12, 4)
    for one in trials:
        one.mean_rows.rows[2, 0] = 0.9
    assert suite_p(trials, MORE) <= 0.003


def test_random_heads_have_a_large_p() -> None:
    found = [suite_p(random_trials(10, 8, seed=seed), MORE) for seed in range(40)]
    assert np.mean(np.array(found) <= 0.1) <= 0.2
    assert np.mean(found) == pytest.approx(0.6, abs=0.2)


def test_p_grows_with_the_number_of_heads_searched() -> None:
    single = random_trials(8, 1)
    for each in single:
        each.mean_rows.rows[0, 0] = 0.9
    few = suite_p(single, MORE)
    wide = [
        Trial(
            MeanRows.of(
                np.concatenate([each.mean_rows.rows, other.mean_rows.rows])[:, None], np.ones((1, 1, 12), bool)
            ),
            (0,),
            (1,),
            each.unit,
        )
        for each, other in zip(single, random_trials(8, 200, seed=5), strict=True)
    ]
    assert few < suite_p(wide, MORE)
    assert suite_p(wide, MORE) == suite_p(wide, MORE)


def test_one_case_with_one_head_has_p_one_half() -> None:
    rows = np.array([[0.4, 0.3, 0.2, 0.1]])
    assert suite_p([trial(rows, 0, 3, 0)], MORE) == pytest.approx(0.5, abs=0.04)
