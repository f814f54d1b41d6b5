"""Distances between the heads of one text: against SciPy row by row, and closed forms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from naive_distances import naive_distance, naive_distances
from scipy.spatial.distance import jensenshannon

from attncli.data import Attention, LayerMaps, Tokens
from attncli.errors import UsageError
from attncli.studies.heads.result import LARGEST_DISTANCE
from attncli.studies.heads.similarity import (
    BY_POSITION,
    MOST_CELLS,
    OBSERVED,
    PairLimit,
    compared_rows,
    sampled_rows,
    smoothness,
    text_distances,
)


def maps(*layers: Any, visible: Any = None) -> Attention:
    """Return the maps of one text; each layer is [head, query, key]."""
    arrays = [np.asarray(layer, np.float32) for layer in layers]
    rows, keys = (Tokens.plain([str(n) for n in range(count)]) for count in arrays[0].shape[1:])
    layer_maps = [LayerMaps(layer, tuple(range(len(heads))), heads, visible) for layer, heads in enumerate(arrays)]
    return Attention("encoder", rows, keys, tuple(layer_maps))


def test_distances_equal_a_double_loop_over_heads_of_all_layers() -> None:
    random = np.random.default_rng(0)
    visible_cells = np.tril(np.ones((1, 7, 7), bool))
    weights = [np.where(visible_cells, random.dirichlet(np.full(7, 0.4), (count, 7)), 0) for count in (3, 2)]
    weights = [layer / layer.sum(-1, keepdims=True) for layer in weights]
    result = text_distances(maps(*weights, visible=visible_cells))
    heads = np.concatenate(weights)
    assert result.heads == ((0, 0), (0, 1), (0, 2), (1, 0), (1, 1))
    assert result.distances == pytest.approx(naive_distances(heads), abs=1e-6)
    uniform = visible_cells[0] / visible_cells[0].sum(-1, keepdims=True)
    assert result.to_uniform == pytest.approx([naive_distance(a, uniform) for a in heads], abs=1e-6)


def test_distance_is_0_for_equal_heads_and_largest_without_a_common_key() -> None:
    first, second = np.zeros((4, 4)), np.zeros((4, 4))
    first[:, 0], second[:, 1] = 1, 1
    result = text_distances(maps([first, first], [second]))
    assert result.distances[0, 1] == 0
    assert result.distances[0, 2] == pytest.approx(np.sqrt(np.log(2)))
    assert pytest.approx(np.sqrt(np.log(2))) == LARGEST_DISTANCE
    assert result.layers[0] == (0, 0)


def test_rows_without_keys_do_not_count_and_rows_that_lost_mass_are_rescaled() -> None:
    random = np.random.default_rng(1)
    weights = random.dirichlet(np.ones(3), (2, 3))
    expected = naive_distance(*weights[:, [0, 2]])
    weights[:, 1] = np.nan
    weights[0] *= 0.6
    result = text_distances(maps(weights))
    assert result.distances[0, 1] == pytest.approx(expected, abs=1e-6)


def test_heads_without_a_common_row_are_undefined() -> None:
    weights = np.full((2, 2, 2), 0.5)
    weights[0, 0], weights[1, 1] = np.nan, np.nan
    assert np.isnan(text_distances(maps(weights)).distances[0, 1])


def test_long_texts_are_compared_by_evenly_spread_rows() -> None:
    assert sampled_rows(128) == range(128)
    assert sampled_rows(1000) == range(0, 1000, 8)
    for tokens, heads in ((4096, 144), (32768, 1024)):
        assert len(sampled_rows(tokens, tokens, heads)) * tokens * heads <= max(MOST_CELLS, 16 * tokens * heads)


def test_fewer_rows_are_compared_where_many_pairs_of_heads_meet_in_a_long_text() -> None:
    assert compared_rows(128, 1024, 1000, PairLimit(1, 1)) == slice(0, 128, 1)
    pairs = 270 * 271 // 2
    for keys, limit in ((2000, OBSERVED), (4000, OBSERVED), (2000, BY_POSITION)):
        count = len(range(128)[compared_rows(128, keys, 270, limit)])
        assert count >= limit.rows / 2
        assert count <= max(limit.rows, limit.cells / (pairs * keys))


def test_the_distance_of_some_rows_is_that_of_these_rows_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("attncli.studies.heads.similarity._SHORT", 5)
    weights = np.random.default_rng(4).dirichlet(np.full(6, 0.5), (3, 40))
    result = text_distances(maps(weights), PairLimit(1, 16))
    assert result.rows == 14
    assert result.distances == pytest.approx(naive_distances(weights[:, ::3]), abs=1e-6)
    assert result.layers[0][0] == pytest.approx(smoothness(torch.from_numpy(weights)), abs=1e-6)


def test_rows_to_their_mean_against_a_loop() -> None:
    rows = np.random.default_rng(2).dirichlet(np.ones(5), (2, 6))
    mean = rows.mean((0, 1))
    expected = np.mean([jensenshannon(row, mean) ** 2 for row in rows.reshape(-1, 5)])
    assert smoothness(torch.from_numpy(rows)) == pytest.approx(expected)


def test_rows_of_single_keys_to_their_mean_have_a_closed_form() -> None:
    n = 4
    value = smoothness(torch.eye(n)[None])
    middle = (1 + 1 / n) / 2
    spread = (n - 1) * (1 / (2 * n)) * np.log(1 / (2 * n))
    assert value == pytest.approx(-np.log(n) / 2 - middle * np.log(middle) - spread)
    assert smoothness(torch.full((2, 3, 3), 1 / 3)) == pytest.approx(0, abs=1e-12)


def test_layers_of_different_lengths_are_refused() -> None:
    mixed = maps(np.full((1, 2, 2), 0.5))
    longer = LayerMaps(1, (0,), np.full((1, 3, 3), 1 / 3))
    with pytest.raises(UsageError, match="different lengths"):
        text_distances(Attention("encoder", mixed.queries, mixed.keys, (*mixed.layers, longer)))
