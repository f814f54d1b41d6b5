"""How true a map is, and how vectors become points: both against SciPy, scikit-learn and loops."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn import decomposition

from attncli.studies.qk_map import quality
from attncli.studies.qk_map.head_maps import NEAREST, verdict
from attncli.studies.qk_map.projection import move_and_scale, pca_points, project, unit_vectors

RANDOM = np.random.default_rng(0)


def random_pairs() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Weights [query, pair] with masked ones, points of queries and keys, and the pairs."""
    queries, keys = RANDOM.normal(size=(9, 2)), RANDOM.normal(size=(20, 2))
    pairs = np.stack([RANDOM.permutation(20)[:14] for _ in queries])
    weights = RANDOM.random(pairs.shape)
    weights[:, 12:][RANDOM.random((9, 2)) < 0.5] = np.nan
    weights[0, 10:] = np.nan  # this query sees too few keys
    return weights, queries, keys, pairs


def test_rank_correlation_and_share_of_top_keys_are_those_of_loops() -> None:
    weights, queries, keys, pairs = random_pairs()
    distances = quality.euclidean(queries, keys, pairs)
    listed, hits, chances = [], [], []
    for query in range(len(queries)):
        seen = []
        for pair, key in enumerate(pairs[query]):
            distance = float(np.sqrt(((queries[query] - keys[key]) ** 2).sum()))
            assert distances[query, pair] == pytest.approx(distance)
            if weights[query, pair] == weights[query, pair]:
                seen.append((weights[query, pair], distance))
        listed += seen
        if len(seen) > NEAREST:
            nearest = sorted(distance for _, distance in seen)[:NEAREST]
            hits.append(max(seen)[1] in nearest)
            chances.append(NEAREST / len(seen))
    expected = -stats.spearmanr(*zip(*listed, strict=True)).statistic
    assert quality.rank_correlation(weights, distances) == pytest.approx(expected)
    assert quality.top_share(weights, distances) == pytest.approx((np.mean(hits), np.mean(chances)))
    assert 0 < np.mean(hits) < 1


@pytest.mark.parametrize(("nearer", "share"), [(NEAREST - 1, 1.0), (NEAREST, 0.0)])
def test_the_strongest_key_is_near_if_it_is_the_tenth_and_not_if_it_is_the_next(nearer: int, share: float) -> None:
    weights = np.full((1, 12), 0.05)
    weights[0, nearer] = 0.4
    assert quality.top_share(weights, np.arange(12.0)[None]) == (share, pytest.approx(NEAREST / 12))


def test_cosine_distance_is_that_of_scipy() -> None:
    from scipy.spatial import distance

    _, queries, keys, pairs = random_pairs()
    expected = distance.cdist(queries, keys, "cosine")
    assert quality.cosine(queries, keys, pairs) == pytest.approx(np.take_along_axis(expected, pairs, 1))


def test_a_perfect_map_has_a_correlation_of_1_and_random_points_near_0() -> None:
    points = RANDOM.normal(size=(300, 2))
    pairs = np.tile(np.arange(100), (200, 1))
    distances = quality.euclidean(points[:200], points[200:], pairs)
    assert quality.rank_correlation(np.exp(-distances), distances) == pytest.approx(1)
    assert 0 < quality.random_correlation(np.exp(-distances), points, 200, pairs, 0) < 0.2
    assert np.isnan(quality.rank_correlation(np.full((2, 3), 0.5), np.ones((2, 3))))
    assert [verdict(*numbers) for numbers in ((0.5, 0.1), (0.4, 0.1), (0.1, 0.1), (0.2, 0.1), (np.nan, 0.1))] == [
        *("good", "fair", "none", "poor", "unknown")
    ]


def test_the_random_baseline_is_the_largest_correlation_of_five_shuffles() -> None:
    weights, queries, keys, pairs = random_pairs()
    points, seen, random = np.concatenate([queries, keys]), ~np.isnan(weights), np.random.default_rng(4)
    correlations = []
    for _ in range(5):
        shuffled = random.permutation(points)
        distances = np.sqrt(np.square(shuffled[: len(queries), None] - shuffled[len(queries) :][pairs]).sum(-1))
        correlations.append(abs(stats.spearmanr(weights[seen], distances[seen]).statistic))
    expected = pytest.approx(max(correlations))
    assert quality.random_correlation(weights, points, len(queries), pairs, 4) == expected


def test_principal_components_are_those_of_scikit_learn_with_a_fixed_sign() -> None:
    vectors = RANDOM.normal(size=(30, 5)) * [4, 3, 1, 1, 1]
    pca = decomposition.PCA(2).fit(vectors)
    points = pca_points(vectors)
    expected = pca.transform(vectors)
    assert np.abs(points) == pytest.approx(np.abs(expected))
    assert pca_points(vectors[::-1])[::-1] == pytest.approx(points)
    signs = np.sign((points * expected).sum(0))[:, None] * pca.components_
    assert (signs[[0, 1], np.abs(signs).argmax(1)] > 0).all()
    assert (pca_points(vectors[:, :1])[:, 1] == 0).all()
    assert project(vectors, "pca", 0) == pytest.approx(pca_points(unit_vectors(vectors)))


def test_both_sides_are_as_long_on_average_before_they_are_moved() -> None:
    queries, keys = RANDOM.normal(size=(8, 4)) * 9, RANDOM.normal(size=(11, 4)) + 2
    moved, _, factor = move_and_scale(queries, keys, 0.25)
    lengths = [np.mean([np.sqrt((vector**2).sum()) for vector in vectors]) for vectors in (queries, keys)]
    assert factor == pytest.approx(np.sqrt(lengths[0] / lengths[1]))
    assert np.linalg.norm(moved, axis=1).mean() == pytest.approx(0.5 * np.sqrt(lengths[0] * lengths[1]))


def test_tsne_gives_the_same_map_for_any_seed_and_keeps_near_vectors_near() -> None:
    centres = np.eye(4)[np.arange(40) % 4]
    vectors = centres + RANDOM.normal(size=(40, 4)) * 0.02
    points = project(vectors, "tsne", 0)
    assert points == pytest.approx(project(vectors, "tsne", 2**40))  # no seed of NumPy: these begin with PCA
    nearest = np.linalg.norm(points[:, None] - points, axis=-1) + np.diag(np.full(40, np.inf))
    assert (nearest.argmin(1) % 4 == np.arange(40) % 4).all()
