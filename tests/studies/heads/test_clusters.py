"""Maps, trees and clusters of heads."""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np
import pytest
from scipy.cluster import hierarchy

from attncli.errors import UsageError
from attncli.studies.heads.clusters import (
    check_installed,
    cluster_heads,
    cluster_numbers,
    leaf_order,
    linkage_tree,
    map_points,
)
from attncli.studies.heads.options import HeadsOptions
from attncli.studies.heads.result import HeadClusters


def between(points: Any) -> Any:
    points = np.asarray(points, float).reshape(len(points), -1)
    return np.linalg.norm(points[:, None] - points[None], axis=-1)


def test_a_map_of_points_in_the_plane_gives_their_distances_back() -> None:
    distances = between(np.random.default_rng(4).normal(size=(8, 2)))
    found, stress = map_points(distances)
    assert stress < 0.01
    assert between(found) == pytest.approx(distances, abs=0.05)
    assert map_points(distances)[0].tolist() == found.tolist()


def test_what_does_not_fit_in_the_plane_is_said_by_the_stress() -> None:
    assert map_points(1 - np.eye(12))[1] > 0.2


def test_few_heads_and_equal_heads_have_a_map_too() -> None:
    assert map_points(np.zeros((3, 3)))[1] == 0
    points, stress = map_points(between([0, 0.4]))
    assert between(points) == pytest.approx(between([0, 0.4]))
    assert stress == pytest.approx(0)
    assert map_points(np.zeros((1, 1)))[0].tolist() == [[0, 0]]


def test_the_tree_joins_at_the_mean_distance_and_lists_leaves_as_scipy_does() -> None:
    distances = between(np.random.default_rng(5).normal(size=(9, 3)))
    tree = linkage_tree(distances)
    assert leaf_order(tree) == hierarchy.leaves_list(tree).tolist()
    below: dict[int, list[int]] = {head: [head] for head in range(9)}
    for node, (one, other, distance, count) in enumerate(tree.tolist(), 9):
        assert distance == pytest.approx(distances[np.ix_(below[int(one)], below[int(other)])].mean())
        below[node] = below[int(one)] + below[int(other)]
        assert len(below[node]) == count


def test_clusters_are_numbered_in_the_order_of_the_tree_those_of_several_heads_first() -> None:
    tree = linkage_tree(between([0.0, 9.0, 0.5, 0.02, 0.53]))
    by_threshold, by_count = cluster_numbers(tree, None, 0.1), cluster_numbers(tree, 3, 0.0)
    assert by_threshold.tolist() == by_count.tolist()
    assert by_threshold[0] == by_threshold[3] != by_threshold[2] == by_threshold[4]
    assert by_threshold[1] == 3
    several = [number for number in by_threshold[leaf_order(tree)].tolist() if number < 3]
    assert several == [1, 1, 2, 2]
    assert set(cluster_numbers(tree, None, 0.0).tolist()) == {1, 2, 3, 4, 5}
    assert cluster_numbers(linkage_tree(np.zeros((1, 1))), None, 0.3).tolist() == [1]


def group(points: Any, baselines: dict[str, Any] | None = None) -> HeadClusters:
    count = len(points)
    layers, heads, to_even = np.zeros(count, int), np.arange(count), np.zeros(count)
    return cluster_heads(layers, heads, between(points), to_even, baselines or {}, HeadsOptions())


def test_pairs_come_with_the_closest_first_and_heads_know_their_nearest() -> None:
    found = group([0.0, 0.4, 0.1])
    assert found.pairs.tolist() == [[0, 2], [1, 2], [0, 1]]
    assert found.nearest.tolist() == [2, 2, 0]
    assert found.medians == pytest.approx({"distance": 0.3})
    assert found.names == ["0.0", "0.1", "0.2"]


def test_a_baseline_that_lacks_heads_has_the_median_of_the_others() -> None:
    partial = between([0.0, 0.2, 0.6])
    partial[1], partial[:, 1] = np.nan, np.nan
    found = group([0.0, 0.4, 0.1], {"positional": partial, "shuffled": np.full((3, 3), np.nan)})
    assert found.medians["distance_positional"] == pytest.approx(0.6)
    assert np.isnan(found.medians["distance_shuffled"])
    single = group([0.0])
    assert np.isnan(single.medians["distance"])
    assert single.nearest.tolist() == [-1]


@pytest.mark.parametrize("missing", ["scipy", "sklearn"])
def test_what_is_not_installed_is_asked_for(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    imports = builtins.__import__

    def without(name: str, *args: Any) -> Any:
        if name.partition(".")[0] == missing:
            raise ImportError(name)
        return imports(name, *args)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UsageError, match=r'pip install "attncli\[analyses\]"'):
        check_installed()
