"""Which units are removed: for each share the first ones of an order, or all others."""

from __future__ import annotations

import numpy as np

from attncli.data import Array
from attncli.studies.faithfulness.curves.result import PERCENTS


def removed_units(order: Array, units: int) -> Array:
    """Return which units are removed for each share, [deletion or insertion, share, unit] bool.

    Deletion removes the first units of the order, insertion all others.
    """
    rank = np.empty(units, np.int64)
    rank[order] = np.arange(units)
    first = rank < np.array([first_units(percent, units) for percent in PERCENTS])[:, None]
    return np.stack([first, ~first])


def first_units(percent: int, units: int) -> int:
    """Return how many units a share of them is: rounded up, so at least one unless the share is 0.

    >>> [first_units(percent, 30) for percent in (0, 1, 10, 11, 100)]
    [0, 1, 3, 4, 30]
    """
    return -(-percent * units // 100)
