"""Weights between words: against loops, with undefined rows, ranks and demands."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import rankdata

from attncli.studies.check.weights import Demand, MeanRows


def random_rows(heads: int = 3, rows: int = 2, keys: int = 6, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    visible = np.tril(np.ones((keys, keys), bool))[-rows - 1 : -1][None]
    weights = rng.random((heads, rows, keys)) * visible
    return (weights / weights.sum(-1, keepdims=True)).astype(np.float32), visible


def test_the_weight_is_the_mean_over_query_tokens_and_the_sum_over_key_tokens() -> None:
    weights, visible = random_rows()
    mean_rows = MeanRows.of(weights, visible)
    for head in range(3):
        mean = [sum(float(weights[head, row, key]) for row in range(2)) / 2 for key in range(6)]
        assert mean_rows.rows[head] == pytest.approx(mean, abs=1e-6)
        assert mean_rows.to([1, 3])[head] == pytest.approx(mean[1] + mean[3], abs=2e-6)


def test_uniform_attention_is_spread_over_the_visible_keys_of_each_row() -> None:
    mean_rows = MeanRows.of(*random_rows())  # rows 3 and 4 of a decoder see 4 and 5 keys
    assert mean_rows.chance([1]) == pytest.approx((1 / 4 + 1 / 5) / 2, abs=1e-6)
    assert mean_rows.chance([4]) == pytest.approx((0 + 1 / 5) / 2, abs=1e-6)
    assert mean_rows.visible.tolist() == [True] * 5 + [False]


def test_rows_without_visible_keys_do_not_count() -> None:
    weights, visible = random_rows()
    gap = np.full((3, 1, 6), np.nan, np.float32)
    with_gap = MeanRows.of(np.concatenate([weights, gap], 1), np.concatenate([visible, np.zeros((1, 1, 6), bool)], 1))
    assert np.array_equal(with_gap.rows, MeanRows.of(weights, visible).rows)


def test_a_head_without_any_row_is_undefined() -> None:
    weights, visible = random_rows()
    weights[1] = np.nan
    mean_rows = MeanRows.of(weights, visible)
    margins = Demand(least=0.0).margins(mean_rows.to([0]), None)
    assert np.isnan(margins).tolist() == [False, True, False]


def test_the_rank_counts_the_tokens_of_a_word_as_one_key() -> None:
    mean_rows = MeanRows.of(np.array([[[0.1, 0.2, 0.15, 0.5, 0.05]]]), np.ones((1, 1, 5), bool))
    assert mean_rows.rank(0, [3]) == (1, 5)
    assert mean_rows.rank(0, [0]) == (4, 5)
    assert mean_rows.rank(0, [0, 2]) == (2, 4)
    assert mean_rows.rank(0, [0, 1, 2, 3, 4]) == (1, 1)


@pytest.mark.parametrize(
    ("demand", "kept"),
    [
        (Demand(least=0.3), [True, True, False]),
        (Demand(most=0.3), [False, True, True]),
        (Demand(least=0.2, most=0.4), [False, True, True]),
        (Demand(more=True), [True, False, False]),
        (Demand(least=0.3, more=True), [True, False, False]),
    ],
)
def test_limits_are_inclusive_and_more_is_strict(demand: Demand, kept: list[bool]) -> None:
    weight, than = np.array([0.5, 0.3, 0.2]), np.array([0.4, 0.3, 0.25])
    assert (demand.margins(weight, than) >= 0).tolist() == kept


@pytest.mark.parametrize(
    ("row", "ranks"),
    [
        ([1 / 8] * 8, [4.5] * 8),
        ([0.5, 0.2, 0.2, 0.1], [1, 2.5, 2.5, 4]),
        ([0.3, 0.3, 0.2, 0.2], [1.5, 1.5, 3.5, 3.5]),
        ([0.2, 0.2000004, 0.1999996, 0.4], [3, 3, 3, 1]),  # parted by rounding only
        ([0.0, 0.0, 1.0], [2.5, 2.5, 1]),
    ],
)
def test_equal_weights_share_the_middle_of_their_ranks(row: list[float], ranks: list[float]) -> None:
    mean_rows = MeanRows.of(np.array([[row]]), np.ones((1, 1, len(row)), bool))
    found = [mean_rows.rank(0, [key])[0] for key in range(len(row))]
    assert found == ranks
    assert found == pytest.approx(rankdata(-np.round(row, 5)), abs=0)
    assert all(isinstance(rank, int) for rank in found if rank == int(rank))


@pytest.mark.parametrize("noise", [-9e-6, -1e-6, -1e-8, 0.0, 1e-8, 1e-6, 9e-6])
@pytest.mark.parametrize(
    ("demand", "kept"), [(Demand(least=0.3), True), (Demand(most=0.3), True), (Demand(more=True), False)]
)
def test_a_weight_on_the_border_gives_one_verdict_whatever_its_last_digits(
    demand: Demand, kept: bool, noise: float
) -> None:
    mean_rows = MeanRows.of(np.array([[[0.3 + noise, 0.3, 0.4]]]), np.ones((1, 1, 3), bool))
    assert bool(demand.margins(mean_rows.to([0]), mean_rows.to([1]))[0] >= 0) is kept


@pytest.mark.parametrize("tolerance", [0.0, 1e-5, 1e-3])
def test_beyond_the_tolerance_a_demand_is_broken(tolerance: float) -> None:
    beyond = tolerance + 2e-6
    weight, than = np.array([0.3 - beyond, 0.3 + beyond]), np.array([0.3, 0.3])
    for demand, kept in (
        (Demand(least=0.3, tolerance=tolerance), [False, True]),
        (Demand(most=0.3, tolerance=tolerance), [True, False]),
        (Demand(more=True, tolerance=tolerance), [False, True]),
    ):
        assert (demand.margins(weight, than) >= 0).tolist() == kept
