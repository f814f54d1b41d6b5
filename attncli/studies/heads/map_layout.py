"""Where the map of heads puts its discs, bands and cluster numbers, so that nothing hides anything else."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.spatial import KDTree
from scipy.spatial.distance import cdist

from attncli.data import Array

_NEIGHBOURS = 6
_MOST_STEPS = 4000
_GOLDEN_ANGLE = np.pi * (3 - 5**0.5)
_DIRECTIONS = np.pi * np.array([0.5, 0.25, 0.75, 0, 1, 1.75, 1.25, 1.5])


@dataclass(frozen=True, eq=False)
class Piece:
    """Heads of one cluster that bands join.

    cluster  number of the cluster
    heads    rows of the heads
    bands    [band, 2] rows of the heads at the ends of each band
    """

    cluster: int
    heads: tuple[int, ...]
    bands: Array


def spread_apart(points: Array, apart: float) -> Array:
    """Return points [head, 2] moved as little as needed for all pairs to be at least `apart` from each other.

    >>> spread_apart(np.array([[0.0, 0.0], [1.0, 0.0], [9.0, 0.0]]), 3.0).round(2).tolist()
    [[-1.02, 0.0], [2.02, 0.0], [9.0, 0.0]]
    """
    moved = np.array(points, dtype=np.float64)
    target = apart * 1.01  # a little more, so that the steps end
    for _ in range(_MOST_STEPS):
        pairs = KDTree(moved).query_pairs(apart, output_type="ndarray")
        if not len(pairs):
            return moved
        first, second = pairs[np.lexsort(pairs.T[::-1])].T
        between = moved[second] - moved[first]
        length = np.linalg.norm(between, axis=1)
        # heads at the same place leave it in different directions
        angle = _GOLDEN_ANGLE * second
        same = length < 1e-9 * apart
        between[same] = np.stack([np.cos(angle[same]), np.sin(angle[same])], axis=1)
        step = between / np.where(same, 1.0, length)[:, None] * ((target - length) / 2)[:, None]
        np.add.at(moved, first, -step)
        np.add.at(moved, second, step)
    return moved


def pieces(points: Array, clusters: Array, clearance: float, width: float) -> list[Piece]:
    """Return the heads of clusters of several heads, joined by bands that keep away from all other heads and bands.

    A band joins two heads of a cluster, near ones first. Where every band would pass a head of another cluster, or the
    band of another one, the cluster stays in several pieces.

    points     [head, 2] centres of the discs
    clusters   [head] numbers of the clusters
    clearance  least distance from a band to the centre of a head of another cluster
    width      width of a band: the least distance between bands of different clusters
    """
    count = len(points)
    joined, accepted = np.arange(count), np.zeros((0, 2), dtype=np.int64)
    for first, second in _candidates(points, clusters):
        if joined[first] == joined[second]:
            continue
        ends = points[[first, second]]
        foreign = clusters != clusters[first]
        others = accepted[foreign[accepted[:, 0]]]
        if _distances(points[foreign], ends).min(initial=np.inf) < clearance:
            continue
        if any(_between_segments(ends, points[band]) < width for band in others):
            continue
        joined[joined == joined[second]] = joined[first]
        accepted = np.vstack([accepted, [[first, second]]])
    sizes = dict(zip(*np.unique(clusters, return_counts=True), strict=True))
    found = []
    for label in dict.fromkeys(joined.tolist()):
        heads = np.flatnonzero(joined == label)
        number = int(clusters[heads[0]])
        if sizes[number] > 1:
            bands = accepted[np.isin(accepted[:, 0], heads)]
            found.append(Piece(number, tuple(heads.tolist()), bands))
    return sorted(found, key=lambda piece: piece.cluster)


def _candidates(points: Array, clusters: Array) -> list[tuple[int, int]]:
    """Return the pairs of heads of a cluster that a band may join, the shortest first."""
    pairs: set[tuple[int, int]] = set()
    for number in np.unique(clusters):
        members = np.flatnonzero(clusters == number)
        lengths = cdist(points[members], points[members])
        near = np.argsort(lengths, axis=1, kind="stable")[:, 1 : _NEIGHBOURS + 1]
        tree = np.argwhere(minimum_spanning_tree(lengths).toarray())
        links = [*tree.tolist(), *((row, other) for row, others in enumerate(near.tolist()) for other in others)]
        pairs |= {(int(members[min(link)]), int(members[max(link)])) for link in links}
    return sorted(pairs, key=lambda pair: (float(np.linalg.norm(points[pair[0]] - points[pair[1]])), pair))


def _distances(points: Array, ends: Array) -> Array:
    """Return the distance of each point [point, 2] from the line between two ends [2, 2]."""
    along = ends[1] - ends[0]
    share = np.clip((points - ends[0]) @ along / max(float(along @ along), 1e-12), 0, 1)
    distances: Array = np.linalg.norm(points - ends[0] - share[:, None] * along, axis=1)
    return distances


def _between_segments(one: Array, other: Array) -> float:
    """Return the distance between two lines, each given by its ends [2, 2]; 0 where they cross."""

    def side(ends: Array, point: Array) -> float:
        along, towards = ends[1] - ends[0], point - ends[0]
        return float(along[0] * towards[1] - along[1] * towards[0])

    crosses = side(one, other[0]) * side(one, other[1]) < 0 and side(other, one[0]) * side(other, one[1]) < 0
    return 0.0 if crosses else float(min(_distances(one, other).min(), _distances(other, one).min()))


def place_numbers(
    points: Array, radius: float, found: Sequence[Piece], sizes: Sequence[tuple[float, float]]
) -> list[tuple[Array, int]]:
    """Return for the number of each piece its centre [2], and the row of the head that it stands beside.

    It covers no disc and no other number. Where there is no free place beside a head, it stands further away.

    radius  of the discs of the heads
    sizes   width and height of each number
    """
    placed: list[tuple[Array, Array]] = []
    results = []
    for piece, size in zip(found, sizes, strict=True):
        half = np.array(size) / 2
        centre, head = next(
            (centre, head)
            for centre, head in _places(points, radius, piece, half)
            if _is_free(centre, half, points, radius, placed)
        )
        placed.append((centre, half))
        results.append((centre, head))
    return results


def _places(points: Array, radius: float, piece: Piece, half: Array) -> Iterator[tuple[Array, int]]:
    """Yield places around the heads of a piece, near ones first: first above the highest head."""
    heads = sorted(piece.heads, key=lambda head: (-points[head, 1], head))
    ring = 0
    while True:
        for head in heads:
            for angle in _DIRECTIONS:
                direction = np.array([np.cos(angle), np.sin(angle)])
                yield points[head] + direction * (radius + half + ring * half[1]), head
        ring += 1


def _is_free(centre: Array, half: Array, points: Array, radius: float, placed: Sequence[tuple[Array, Array]]) -> bool:
    """Return whether a number at this place covers no disc and no other number."""
    outside = np.maximum(np.abs(points - centre) - half, 0)
    if np.linalg.norm(outside, axis=1).min(initial=np.inf) < radius:
        return False
    return not any((np.abs(centre - other) < half + other_half).all() for other, other_half in placed)
