"""Divergences of all pairs of heads in float32: against SciPy in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from naive_distances import naive_distances

from attncli.data import Array
from attncli.stream.divergence import HalfRows, divergence, divergence_from_mean

ROWS, KEYS = 12, 60


def made_heads(sharpness: float, difference: float) -> Array:
    """Return causal rows [head, row, key] of 4 heads whose scores differ by some numbers; the first two are equal."""
    random = np.random.default_rng(0)
    shared, own = random.normal(size=(ROWS, KEYS)), random.normal(size=(4, ROWS, KEYS))
    own[1] = own[0]
    scores = np.exp(sharpness * (shared + difference * own)) * np.tril(np.ones((ROWS, KEYS)), KEYS - ROWS)
    return scores / scores.sum(-1, keepdims=True)


def half_rows(weights: Array, factor: float = 1.0, dtype: torch.dtype = torch.float32) -> HalfRows:
    sizes = torch.from_numpy((weights[0] > 0).sum(-1).clip(1)).double()[None, None]
    real = torch.ones((1, *weights.shape[:2]), dtype=torch.bool)
    return HalfRows.of(torch.from_numpy(weights * factor).to(dtype)[None], sizes, real)


def distances(sums: torch.Tensor, rows: torch.Tensor) -> Array:
    found: Array = (sums / rows).clamp_min(0).sqrt()[0].numpy()
    return found


@pytest.mark.parametrize(("sharpness", "difference"), [(0.02, 1), (1, 0.02), (1, 1), (4, 1)])
@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 2e-6), (torch.float64, 1e-8)])
def test_distances_are_those_of_loops_for_rows_that_are_spread_and_for_sharp_ones(
    sharpness: float, difference: float, dtype: torch.dtype, error: float
) -> None:
    weights = made_heads(sharpness, difference)
    expected = naive_distances(weights)
    assert expected[2, 3] > 0.005
    heads, others = half_rows(weights, 0.7, dtype), half_rows(weights[1:], 1.0, dtype)
    found = distances(*heads.among())
    assert found == pytest.approx(expected, abs=error)
    assert found[0, 1] == 0
    different = expected[:, 1:] > 0.005
    assert distances(*heads.with_others(others))[different] == pytest.approx(expected[:, 1:][different], abs=error)
    same = distances(*half_rows(weights[1:], 1.0, dtype).with_same(half_rows(weights[[2, 3, 1]], 1.0, dtype)))
    assert same == pytest.approx(expected[[1, 2, 3], [2, 3, 1]], abs=error)


def test_rows_without_weight_count_for_no_pair_of_their_head() -> None:
    weights = made_heads(1, 1)
    weights[0, 3:] = 0
    sums, rows = half_rows(weights).among()
    assert rows[0, 0].tolist() == [3, 3, 3, 3]
    assert rows[0, 2].tolist() == [3, ROWS, ROWS, ROWS]
    assert distances(sums, rows) == pytest.approx(naive_distances(weights), abs=1e-6)


def test_the_divergence_from_the_mean_row_does_not_depend_on_how_many_rows_are_taken_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = torch.from_numpy(made_heads(1, 1)[2])
    real = (torch.arange(ROWS) != 4).double()
    mean = (rows * real[:, None]).sum(0) / real.sum()
    expected = (divergence(rows, mean.expand(ROWS, -1)) * real).sum() / real.sum()
    monkeypatch.setattr("attncli.stream.divergence._CELLS", 5 * KEYS)
    assert divergence_from_mean(rows, real) == pytest.approx(expected)
