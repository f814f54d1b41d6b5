"""From distances between heads to a map, a tree and clusters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from attncli.data import Array
from attncli.errors import UsageError
from attncli.studies.heads.options import HeadsOptions
from attncli.studies.heads.result import HeadClusters


def grouped(
    places: tuple[Array, Array],
    distances: Array,
    to_even: Array,
    baselines: Mapping[str, Array],
    grouping: HeadsOptions,
) -> HeadClusters:
    """The heads of a kind on a map, in a tree and in clusters; `places` are their layers and numbers."""
    points, stress = placed(distances)
    tree = linked(distances)
    clusters = clustered(tree, grouping.clusters, grouping.threshold)
    return HeadClusters(*places, distances, to_even, baselines, points, stress, tree, tuple(leaves(tree)), clusters)


def placed(distances: Array) -> tuple[Array, float]:
    """A map of the heads: points [head, 2] whose distances come near these, and how far they are off (stress-1).

    Stress-1 is the root of Σ (d - drawn)² / Σ d² over pairs: 0.1 is fair, from 0.2 on a map is poor (Kruskal 1964).
    """
    if not distances.any():
        return np.zeros((len(distances), 2)), 0.0
    from sklearn import manifold

    if len(distances) == 2:
        points = np.array([[-0.5, 0.0], [0.5, 0.0]]) * distances[0, 1]
    else:
        look: dict[str, Any] = {"metric": "precomputed", "init": "classical_mds", "n_init": 1, "random_state": 0}
        points = manifold.MDS(2, normalized_stress=False, **look).fit_transform(distances)
    drawn = np.linalg.norm(points[:, None] - points[None], axis=-1)
    stress = float(np.sqrt(np.square(distances - drawn).sum() / np.square(distances).sum()))
    return points, stress


def linked(distances: Array) -> Array:
    """The tree of the heads by average linkage, as SciPy has it: [joint, 4] of one, other, distance, heads below."""
    from scipy.cluster import hierarchy
    from scipy.spatial import distance

    if len(distances) < 2:
        return np.zeros((0, 4))
    return np.asarray(hierarchy.linkage(distance.squareform(distances, checks=False), "average"))


def leaves(tree: Array) -> list[int]:
    """The heads in the order in which the tree has them, top down.

    >>> leaves(np.array([[0, 2, 0.1, 2], [1, 3, 0.5, 3]]))
    [1, 0, 2]
    """
    count = len(tree) + 1
    order, open_ = [], [2 * count - 2]
    while open_:
        node = open_.pop()
        if node < count:
            order.append(node)
        else:
            open_ += [int(tree[node - count, 1]), int(tree[node - count, 0])]
    return order


def clustered(tree: Array, count: int | None, threshold: float) -> Array:
    """The cluster of each head, numbered from 1 in the order of the tree: first those of several heads.

    count  so many clusters; None for those whose mean distance is at most the threshold
    """
    if not len(tree):
        return np.ones(1, np.int64)
    from scipy.cluster import hierarchy

    if count is None:
        found = hierarchy.fcluster(tree, threshold, "distance")
    else:
        found = hierarchy.cut_tree(tree, n_clusters=count)[:, 0]
    names = sorted(dict.fromkeys(found[leaves(tree)].tolist()), key=lambda name: np.sum(found == name) == 1)
    numbers = {name: number for number, name in enumerate(names, 1)}
    return np.array([numbers[name] for name in found.tolist()])


def check_installed() -> None:
    """A `UsageError` that says what to install, before the long work."""
    try:
        import scipy.cluster.hierarchy
        import scipy.spatial.distance  # noqa: F401
        import sklearn.manifold  # noqa: F401
    except ImportError as error:
        raise UsageError('heads needs SciPy and scikit-learn: pip install "attncli[analyses]"') from error
