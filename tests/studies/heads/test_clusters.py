"""Maps, trees and clusters that are computed from distances."""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np
import pytest
from scipy.cluster import hierarchy

from attncli.errors import UsageError
from attncli.studies.heads.compute import (
    check_installed,
    cluster_heads,
    cluster_numbers,
    leaf_order,
    linkage_tree,
    map_points,
)
from attncli.studies.heads.options import HeadsOptions
from attncli.studies.heads.result import HeadClusters


def euclidean_distances(points: Any) -> Any:
    points = np.asarray(points, float).reshape(len(points), -1)
    return np.linalg.norm(points[:, None] - points[None], axis=-1)


def test_the_map_of_points_in_a_plane_keeps_their_distances() -> None:
    distances = euclidean_distances(np.random.default_rng(4).normal(size=(8, 2)))
    points, stress = map_points(distances)
    assert stress < 0.01
    assert euclidean_distances(points) == pytest.approx(distances, abs=0.05)
    assert map_points(distances)[0].tolist() == points.tolist()


def test_distances_that_do_not_fit_in_a_plane_have_a_large_stress() -> None:
    assert map_points(1 - np.eye(12))[1] > 0.2


def test_few_heads_and_equal_heads_have_a_map() -> None:
    assert map_points(np.zeros((3, 3)))[1] == 0
    points, stress = map_points(euclidean_distances([0, 0.4]))
    assert euclidean_distances(points) == pytest.approx(euclidean_distances([0, 0.4]))
    assert stress == pytest.approx(0)
    assert map_points(np.zeros((1, 1)))[0].tolist() == [[0, 0]]


def test_tree_nodes_have_the_mean_distance_and_leaves_the_order_of_scipy() -> None:
    distances = euclidean_distances(np.random.default_rng(5).normal(size=(9, 3)))
    tree = linkage_tree(distances)
    assert leaf_order(tree) == hierarchy.leaves_list(tree).tolist()
    below: dict[int, list[int]] = {head: [head] for head in range(9)}
    for node, (first, second, distance, count) in enumerate(tree.tolist(), 9):
        assert distance == pytest.approx(distances[np.ix_(below[int(first)], below[int(second)])].mean())
        below[node] = below[int(first)] + below[int(second)]
        assert len(below[node]) == count


def test_clusters_are_numbered_in_tree_order_with_single_heads_last() -> None:
    tree = linkage_tree(euclidean_distances([0.0, 9.0, 0.5, 0.02, 0.53]))
    by_threshold, by_count = cluster_numbers(tree, None, 0.1), cluster_numbers(tree, 3, 0.0)
    assert by_threshold.tolist() == by_count.tolist()
    assert by_threshold[0] == by_threshold[3] != by_threshold[2] == by_threshold[4]
    assert by_threshold[1] == 3
    several = [number for number in by_threshold[leaf_order(tree)].tolist() if number < 3]
    assert several == [1, 1, 2, 2]
    assert set(cluster_numbers(tree, None, 0.0).tolist()) == {1, 2, 3, 4, 5}
    assert cluster_numbers(linkage_tree(np.zeros((1, 1))), None, 0.3).tolist() == [1]


def clustered_heads(points: Any, baselines: dict[str, Any] | None = None) -> HeadClusters:
    count = len(points)
    layers, heads, to_even = np.zeros(count, int), np.arange(count), np.zeros(count)
    return cluster_heads(layers, heads, euclidean_distances(points), to_even, baselines or {}, HeadsOptions())


def test_pairs_are_ordered_by_distance_and_each_head_has_a_nearest_one() -> None:
    heads = clustered_heads([0.0, 0.4, 0.1])
    assert heads.pairs.tolist() == [[0, 2], [1, 2], [0, 1]]
    assert heads.nearest.tolist() == [2, 2, 0]
    assert heads.medians == pytest.approx({"distance": 0.3})
    assert heads.names == ["0.0", "0.1", "0.2"]


def test_the_median_of_a_baseline_ignores_heads_without_a_baseline() -> None:
    partial = euclidean_distances([0.0, 0.2, 0.6])
    partial[1], partial[:, 1] = np.nan, np.nan
    heads = clustered_heads([0.0, 0.4, 0.1], {"positional": partial, "shuffled": np.full((3, 3), np.nan)})
    assert heads.medians["distance_positional"] == pytest.approx(0.6)
    assert np.isnan(heads.medians["distance_shuffled"])
    single = clustered_heads([0.0])
    assert np.isnan(single.medians["distance"])
    assert single.nearest.tolist() == [-1]


@pytest.mark.parametrize("missing", ["scipy", "sklearn"])
def test_a_missing_package_gives_an_error_with_the_install_command(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    imports = builtins.__import__

    def without(name: str, *args: Any) -> Any:
        if name.partition(".")[0] == missing:
            raise ImportError(name)
        return imports(name, *args)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UsageError, match=r'pip install "attncli\[analyses\]"'):
        check_installed()
