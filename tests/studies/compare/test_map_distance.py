"""The distance between maps: closed forms, and SciPy row by row."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from pictures import attention
from scipy.spatial.distance import jensenshannon

from attncli.studies.compare.map_distance import head_pair_distances, js_distance, same_head_distances


def test_closed_forms() -> None:
    half, one, other = [[0.5, 0.5]], [[1.0, 0.0]], [[0.0, 1.0]]
    assert js_distance(np.array(half), np.array(half)) == 0
    assert js_distance(np.array(one), np.array(other)) == pytest.approx(math.sqrt(math.log(2)))
    known = 0.75 * math.log(4 / 3) / 1 + 0.25 * math.log(4) - math.log(2) / 2
    assert js_distance(np.array(half), np.array(one)) == pytest.approx(math.sqrt(known))


def test_the_divergences_of_rows_are_averaged_before_the_root() -> None:
    rng = np.random.default_rng(0)
    p, q = rng.dirichlet(np.ones(7), 5), rng.dirichlet(np.ones(7), 5)
    expected = math.sqrt(np.mean([jensenshannon(a, b) ** 2 for a, b in zip(p, q, strict=True)]))
    assert js_distance(p, q) == pytest.approx(expected, rel=1e-12)
    assert js_distance(p, q) == js_distance(q, p)


def test_rows_that_lose_mass_are_rescaled_and_undefined_rows_left_out() -> None:
    p, q = np.array([[0.2, 0.6], [np.nan, np.nan], [0.5, 0.5]]), np.array([[0.25, 0.75], [1, 0], [0, 0]])
    assert js_distance(p, q) == pytest.approx(0, abs=1e-7)
    assert math.isnan(js_distance(p[1:], q[1:]))


def test_each_head_is_compared_with_the_same_head_and_with_all_others_of_its_layer() -> None:
    maps = attention(6, heads=(2, 3))
    first, second, *others = [(maps.kind, layer, head) for layer, head in ((0, 0), (0, 1), (1, 0), (1, 1), (1, 2))]
    assert same_head_distances(maps, maps, js_distance) == dict.fromkeys([first, second, *others], 0)
    pairs = head_pair_distances(maps)
    assert list(pairs) == [(first, second), *combinations(others, 2)]
    weights = maps.layers[1].weights
    assert pairs[others[0], others[2]] == js_distance(weights[0], weights[2])
    means = [(maps.kind, 0, "mean"), (maps.kind, 1, "mean")]
    assert list(same_head_distances(maps.mean("head"), maps.mean("head"), js_distance)) == means
