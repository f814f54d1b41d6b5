"""Attention between segments, pair by pair, directly from its definition."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence


def naive_mass(
    weights: Sequence[Sequence[float]],
    visible: Sequence[Sequence[bool]],
    queries: Sequence[str],
    keys: Sequence[str],
    predicted: Collection[str] = (),
) -> dict[tuple[str, str], tuple[float, float]]:
    """Return for each pair of segments the mean mass over rows, and the mean mass of uniform attention.

    predicted  query segments whose tokens are read in the row before them
    """
    means = {}
    for query_segment in dict.fromkeys(queries):
        shift = 1 if query_segment in predicted else 0
        rows = [position - shift for position, name in enumerate(queries) if name == query_segment]
        rows = [row for row in rows if row >= 0 and any(visible[row])]
        for key_segment in dict.fromkeys(keys) if rows else ():
            columns = [column for column, name in enumerate(keys) if name == key_segment]
            mass = [math.fsum(float(weights[row][column]) for column in columns) for row in rows]
            uniform = [sum(bool(visible[row][key]) for key in columns) / sum(map(bool, visible[row])) for row in rows]
            means[query_segment, key_segment] = (math.fsum(mass) / len(rows), math.fsum(uniform) / len(rows))
    return means
