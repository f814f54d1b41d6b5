"""Attention between segments counted pair by pair, as slowly and plainly as it is defined."""

from __future__ import annotations

import math
from collections.abc import Sequence


def naive_mass(
    weights: Sequence[Sequence[float]],
    visible: Sequence[Sequence[bool]],
    queries: Sequence[str],
    keys: Sequence[str],
) -> dict[tuple[str, str], tuple[float, float]]:
    """For each pair of segments the mean over rows of what goes there, and of what even attention would put there."""
    found = {}
    for one in dict.fromkeys(queries):
        rows = [at for at, name in enumerate(queries) if name == one and any(visible[at])]
        for other in dict.fromkeys(keys) if rows else ():
            columns = [at for at, name in enumerate(keys) if name == other]
            mass = [math.fsum(float(weights[row][key]) for key in columns) for row in rows]
            even = [sum(bool(visible[row][key]) for key in columns) / sum(map(bool, visible[row])) for row in rows]
            found[one, other] = (math.fsum(mass) / len(rows), math.fsum(even) / len(rows))
    return found
