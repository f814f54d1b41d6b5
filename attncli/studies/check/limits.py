"""Comparisons with a tolerance, because the last digits of float32 differ between processors."""

from __future__ import annotations

import numpy as np

from attncli.data import Array

DIGITS = 6
"""Weights and measures are rounded to this many decimals before they are compared, recorded or printed."""
_STEP = 10.0**-DIGITS / 2
"""Margin by which a value that is equal to a strict limit breaks it."""


def margins(values: Array, sign: str, limit: Array | float, tolerance: float) -> Array:
    """Return how far each value is inside a limit: at least 0 where it keeps the limit, NaN where it is undefined.

    The tolerance is absolute for limits up to 1 and relative above. A value within the tolerance of a limit counts as
    equal to it: it keeps <= and >=, and breaks < and >.

    >>> margins(np.array([0.29998, 0.29999, 0.3]), ">=", 0.3, tolerance=1e-5) >= 0
    array([False,  True,  True])
    >>> margins(np.array([0.3, 0.30001, 0.30002]), ">", 0.3, tolerance=1e-5) >= 0
    array([False, False,  True])
    """
    slack = tolerance * np.maximum(1.0, np.abs(limit))
    inside = limit - values if sign in ("<", "<=") else values - limit
    if sign in ("<=", ">="):
        inclusive: Array = np.round(inside + slack, 9)
        return inclusive
    strict = np.round(inside - slack, 9)
    exclusive: Array = np.where(strict == 0, -_STEP, strict)
    return exclusive
