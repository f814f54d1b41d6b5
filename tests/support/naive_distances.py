"""The distance between heads by SciPy, row by row, directly from its definition."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.distance import jensenshannon

from attncli.data import Array


def naive_distance(head: ArrayLike, other: ArrayLike) -> float:
    """Return the root of the mean squared distance over the rows that both heads have."""
    pairs = [
        (p, q) for p, q in zip(np.array(head), np.array(other), strict=True) if np.nansum(p) > 0 and np.nansum(q) > 0
    ]
    return float(np.sqrt(np.mean([jensenshannon(p, q) ** 2 for p, q in pairs]))) if pairs else float("nan")


def naive_distances(heads: ArrayLike) -> Array:
    """Return [head, head] for maps [head, query, key]."""
    maps = np.array(heads)
    return np.array([[naive_distance(head, other) for other in maps] for head in maps])
