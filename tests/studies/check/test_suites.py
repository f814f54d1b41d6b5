"""Suites: units, the best single head, and how often chance does as well."""

from __future__ import annotations

import numpy as np
import pytest

from attncli.studies.check.suites import Trial, suite_p, unit_counts
from attncli.studies.check.weights import Demand, MeanRows

MORE = Demand(more=True)


def trial(rows: np.ndarray, target: int, other: int, unit: int) -> Trial:
    return Trial(MeanRows.of(rows[:, None], np.ones((1, 1, rows.shape[1]), bool)), (target,), (other,), unit)


def chance(cases: int, heads: int, keys: int = 12, seed: int = 0, pairs: bool = False) -> list[Trial]:
    rng = np.random.default_rng(seed)
    return [
        trial(rng.dirichlet(np.ones(keys), heads), 0, 1, number // 2 if pairs else number) for number in range(cases)
    ]


def test_cases_of_one_unit_hold_together_only() -> None:
    held = [np.array([True, True]), np.array([True, False]), np.array([False, True])]
    assert unit_counts(held, [7, 7, 8]).tolist() == [1, 1]
    assert unit_counts(held, [7, 8, 9]).tolist() == [2, 2]


def test_a_head_that_is_always_right_is_no_chance() -> None:
    trials = chance(12, 4)
    for one in trials:
        one.mean_rows.rows[2, 0] = 0.9
    assert suite_p(trials, MORE) <= 0.003


def test_chance_is_called_chance() -> None:
    found = [suite_p(chance(10, 8, seed=seed), MORE) for seed in range(40)]
    assert np.mean(np.array(found) <= 0.1) <= 0.2
    assert np.mean(found) == pytest.approx(0.6, abs=0.2)


def test_the_more_heads_are_searched_the_less_a_rate_says() -> None:
    one = chance(8, 1)
    for each in one:
        each.mean_rows.rows[0, 0] = 0.9
    few = suite_p(one, MORE)
    wide = [
        Trial(
            MeanRows.of(
                np.concatenate([each.mean_rows.rows, other.mean_rows.rows])[:, None], np.ones((1, 1, 12), bool)
            ),
            (0,),
            (1,),
            each.unit,
        )
        for each, other in zip(one, chance(8, 200, seed=5), strict=True)
    ]
    assert few < suite_p(wide, MORE)
    assert suite_p(wide, MORE) == suite_p(wide, MORE)


def test_one_case_with_one_head_is_a_coin() -> None:
    rows = np.array([[0.4, 0.3, 0.2, 0.1]])
    assert suite_p([trial(rows, 0, 3, 0)], MORE) == pytest.approx(0.5, abs=0.04)
