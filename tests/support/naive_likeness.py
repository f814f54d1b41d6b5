"""How far heads are apart, row by row by SciPy, as slowly and plainly as it is defined."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.spatial.distance import jensenshannon


def naive_distance(one: Any, other: Any) -> float:
    """The root of the mean squared distance over the rows that both have."""
    pairs = [(p, q) for p, q in zip(one, other, strict=True) if np.nansum(p) > 0 and np.nansum(q) > 0]
    return float(np.sqrt(np.mean([jensenshannon(p, q) ** 2 for p, q in pairs]))) if pairs else float("nan")


def naive_distances(heads: Any) -> Any:
    """[head, head] of maps [head, query, key]."""
    return np.array([[naive_distance(one, other) for other in heads] for one in heads])
