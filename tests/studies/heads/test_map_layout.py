"""The map of heads: discs stay apart, bands keep away from other clusters, numbers cover nothing."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import pdist

from attncli.data import Array
from attncli.studies.heads.map_layout import pieces, place_numbers, spread_apart

RADIUS, CLEARANCE, WIDTH = 15.0, 25.0, 16.0
SIZE = (20.0, 18.0)


def layout(seed: int, heads: int) -> tuple[Array, Array]:
    """Return discs of heads in clusters that lie among each other, and the numbers of the clusters."""
    rng = np.random.default_rng(seed)
    points = rng.normal(0, 40 + 8 * heads**0.5, (heads, 2)).round(-1)  # many at the same place
    return spread_apart(points, 2 * RADIUS + 8), rng.integers(1, 2 + heads // 5, heads)


def along(ends: Array, count: int = 400) -> Array:
    """Return many points of the line between two ends."""
    share = np.linspace(0, 1, count)[:, None]
    points: Array = ends[0] + share * (ends[1] - ends[0])
    return points


@given(seed=st.integers(0, 10_000), heads=st.integers(1, 40))
def test_nothing_covers_anything_else(seed: int, heads: int) -> None:
    points, clusters = layout(seed, heads)
    assert heads == 1 or pdist(points).min() >= 2 * RADIUS + 8
    found = pieces(points, clusters, CLEARANCE, WIDTH)
    bands = [(piece.cluster, along(points[band])) for piece in found for band in piece.bands]
    for cluster, band in bands:
        foreign = points[clusters != cluster]
        nearest = np.linalg.norm(band[:, None] - foreign[None], axis=-1).min(initial=np.inf)
        assert nearest >= CLEARANCE - 1e-9
    for (cluster, band), (other_cluster, other) in combinations(bands, 2):
        if cluster != other_cluster:
            assert np.linalg.norm(band[:, None] - other[None, ::8], axis=-1).min() >= WIDTH - 1e-9
    boxes = [centre for centre, _ in place_numbers(points, RADIUS, found, [SIZE] * len(found))]
    for centre in boxes:
        outside = np.maximum(np.abs(points - centre) - np.array(SIZE) / 2, 0)
        assert np.linalg.norm(outside, axis=1).min() >= RADIUS
    for one, other in combinations(boxes, 2):
        assert (np.abs(one - other) >= np.array(SIZE) - 1e-9).any()


@given(seed=st.integers(0, 10_000), heads=st.integers(1, 40))
def test_pieces_are_the_heads_of_the_clusters_of_several_heads(seed: int, heads: int) -> None:
    points, clusters = layout(seed, heads)
    found = pieces(points, clusters, CLEARANCE, WIDTH)
    several = [head for head in range(heads) if (clusters == clusters[head]).sum() > 1]
    assert sorted(head for piece in found for head in piece.heads) == several
    for piece in found:
        assert {int(clusters[head]) for head in piece.heads} == {piece.cluster}
        assert len(piece.bands) == len(piece.heads) - 1
        assert set(piece.bands.ravel().tolist()) <= set(piece.heads)


def test_points_that_are_far_enough_apart_stay() -> None:
    points = np.array([[0.0, 0.0], [50.0, 0.0], [0.0, 50.0]])
    assert spread_apart(points, 40.0).tolist() == points.tolist()


@pytest.mark.parametrize(("between", "count"), [((50.0, 30.0), 1), ((50.0, 10.0), 2), ((50.0, 0.0), 2)])
def test_a_band_stops_at_a_head_of_another_cluster(between: tuple[float, float], count: int) -> None:
    points = np.array([[0.0, 0.0], [100.0, 0.0], between])
    found = pieces(points, np.array([1, 1, 2]), CLEARANCE, WIDTH)
    assert [piece.cluster for piece in found] == [1] * count


def test_bands_of_different_clusters_do_not_cross() -> None:
    corners = np.array([[0.0, 0.0], [100.0, 100.0], [0.0, 100.0], [110.0, 0.0]])
    found = pieces(corners, np.array([1, 1, 2, 2]), CLEARANCE, WIDTH)
    assert [len(piece.bands) for piece in found] == [1, 0, 0]
