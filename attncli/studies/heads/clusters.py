"""A map, a tree and clusters of heads, computed from their distances."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from attncli.data import Array
from attncli.errors import UsageError
from attncli.studies.heads.options import HeadsOptions
from attncli.studies.heads.result import HeadClusters


def cluster_heads(
    layers: Array, heads: Array, distances: Array, to_even: Array, baselines: Mapping[str, Array], options: HeadsOptions
) -> HeadClusters:
    """Return the heads of one kind with their map, tree and clusters.

    layers, heads  [head] number of the layer and of the head
    distances      [head, head], without NaN; to_even [head]
    baselines      [head, head] of each
    """
    points, stress = map_points(distances)
    tree = linkage_tree(distances)
    order, clusters = tuple(leaf_order(tree)), cluster_numbers(tree, options.clusters, options.threshold)
    return HeadClusters(layers, heads, distances, to_even, baselines, points, stress, tree, order, clusters)


def map_points(distances: Array) -> tuple[Array, float]:
    """Return points [head, 2] whose distances are close to these, and their error (stress-1).

    Stress-1 is the root of Σ (d - drawn)² / Σ d² over pairs: 0.1 is fair, a map of 0.2 or more is poor (Kruskal 1964).
    """
    if not distances.any():
        return np.zeros((len(distances), 2)), 0.0
    from sklearn import manifold

    if len(distances) == 2:
        points = np.array([[-0.5, 0.0], [0.5, 0.0]]) * distances[0, 1]
    else:
        options: dict[str, Any] = {"metric": "precomputed", "init": "classical_mds", "n_init": 1, "random_state": 0}
        points = manifold.MDS(2, normalized_stress=False, **options).fit_transform(distances)
    drawn = np.linalg.norm(points[:, None] - points[None], axis=-1)
    stress = float(np.sqrt(np.square(distances - drawn).sum() / np.square(distances).sum()))
    return points, stress


def linkage_tree(distances: Array) -> Array:
    """Return the tree of the heads by average linkage in the format of SciPy.

    It is [node, 4]: the two parts of a node, the distance between them, and the number of heads below.
    """
    from scipy.cluster import hierarchy
    from scipy.spatial import distance

    if len(distances) < 2:
        return np.zeros((0, 4))
    return np.asarray(hierarchy.linkage(distance.squareform(distances, checks=False), "average"))


def leaf_order(tree: Array) -> list[int]:
    """Return the heads in the order of the tree, from top to bottom.

    >>> leaf_order(np.array([[0, 2, 0.1, 2], [1, 3, 0.5, 3]]))
    [1, 0, 2]
    """
    from scipy.cluster import hierarchy

    order: list[int] = hierarchy.leaves_list(tree).tolist() if len(tree) else [0]
    return order


def cluster_numbers(tree: Array, count: int | None, threshold: float) -> Array:
    """Return the cluster of each head, numbered from 1 in the order of the tree: first those of several heads.

    count      number of clusters; None for as many as `threshold` gives
    threshold  largest mean distance between two parts of a cluster
    """
    if not len(tree):
        return np.ones(1, np.int64)
    from scipy.cluster import hierarchy

    if count is None:
        labels = hierarchy.fcluster(tree, threshold, "distance")
    else:
        labels = hierarchy.cut_tree(tree, n_clusters=count)[:, 0]
    ordered = sorted(dict.fromkeys(labels[leaf_order(tree)].tolist()), key=lambda label: np.sum(labels == label) == 1)
    numbers = {label: number for number, label in enumerate(ordered, 1)}
    return np.array([numbers[label] for label in labels.tolist()])


def check_installed() -> None:
    """Raise UsageError if SciPy or scikit-learn is missing."""
    try:
        import scipy.cluster.hierarchy
        import scipy.spatial.distance  # noqa: F401
        import sklearn.manifold  # noqa: F401
    except ImportError as error:
        raise UsageError('heads needs SciPy and scikit-learn: pip install "attncli[analyses]"') from error
