"""From query and key vectors to one space in which near means attended, and to points of a plane."""

from __future__ import annotations

import warnings

import numpy as np

from attncli.data import Array
from attncli.errors import UsageError

PERPLEXITY, NEIGHBOURS = 30, 15
_SEEDS = 2**32
"""Number of seeds of umap."""
LEAST_VECTORS = {"pca": 3, "tsne": 12, "umap": 12}
"""Least numbers of vectors of a head."""


def move_and_scale(queries: Array, keys: Array, scale: float) -> tuple[Array, Array, float]:
    """Return queries and keys of one head in one space, and the factor c, all float64.

    q' = √s q / c and k' = √s c (k - k̄) + q̄', where s is the scale of scores and c makes both as long on average. Then
    q'·k' is the score plus a number of the query alone, so attention is unchanged.
    """
    queries, keys = (np.sqrt(abs(scale)) * vectors.astype(np.float64) for vectors in (queries, keys))
    lengths = [float(np.linalg.norm(vectors, axis=1).mean()) for vectors in (queries, keys)]
    factor = float(np.sqrt(lengths[0] / lengths[1])) if min(lengths) > 0 else 1.0
    queries, keys = queries / factor * np.sign(scale or 1), keys * factor
    return queries, keys - keys.mean(0) + queries.mean(0), factor


def unit_vectors(vectors: Array) -> Array:
    """Return the vectors divided by their lengths; vectors of length 0 stay as they are."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1.0)


def pca_points(vectors: Array) -> Array:
    """Return [point, 2] the first two principal components; the largest entry of each direction is positive."""
    centred = vectors - vectors.mean(0)
    directions = np.linalg.svd(centred, full_matrices=False)[2][:2]
    largest = np.abs(directions).argmax(1)
    directions = directions * np.sign(directions[np.arange(len(directions)), largest])[:, None]
    points = np.zeros((len(vectors), 2))
    points[:, : len(directions)] = centred @ directions.T
    return points


def project(vectors: Array, method: str, seed: int) -> Array:
    """Return [point, 2] the points of one head, by the directions of its vectors (their cosine distance).

    pca   the first two principal components of the directions
    tsne, umap  begin with these, so that the maps of a head are alike; they keep near points near
    """
    directions = unit_vectors(vectors)
    points = pca_points(directions)
    if method == "pca":
        return points
    spread = points[:, 0].std()
    start = (points / (spread if spread > 0 else 1.0)).astype(np.float32)
    if method == "tsne":
        from sklearn import manifold

        perplexity = min(PERPLEXITY, (len(vectors) - 1) / 3)
        made = manifold.TSNE(init=1e-4 * start, perplexity=perplexity, metric="cosine")
        return np.asarray(made.fit_transform(directions))
    with warnings.catch_warnings():  # of packages that it can do without, and of small samples
        warnings.simplefilter("ignore")
        import umap

        neighbours = min(NEIGHBOURS, len(vectors) - 1)
        made = umap.UMAP(init=10 * start, n_neighbors=neighbours, metric="cosine", random_state=seed % _SEEDS, n_jobs=1)
        return np.asarray(made.fit_transform(directions))


def check_installed(method: str) -> None:
    """Raise UsageError if SciPy, scikit-learn or what the method needs is missing."""
    try:
        import scipy.stats  # noqa: F401
        import sklearn.manifold  # noqa: F401
    except ImportError as error:
        raise UsageError('qk-map needs SciPy and scikit-learn: pip install "attncli[analyses]"') from error
    if method == "umap":
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                import umap  # noqa: F401
        except ImportError as error:
            raise UsageError('--method umap needs umap-learn: pip install "attncli[umap]"') from error
