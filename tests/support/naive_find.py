"""Attention from chosen rows to chosen keys, pair by pair, directly from its definition."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

Matrix = Sequence[Sequence[float]]


def naive_find(weights: Matrix, visible: Sequence[Sequence[bool]], rows: Sequence[int], keys: Sequence[int]) -> Any:
    """Return the numbers of one head in one text; None if no chosen row sees any key."""
    real = [row for row in rows if any(visible[row])]
    if not real:
        return None
    ranks = [_rank(weights[row], visible[row], keys) for row in real if any(visible[row][key] for key in keys)]
    tops = [
        max((key for key in range(len(weights[row])) if visible[row][key]), key=weights[row].__getitem__)
        for row in real
    ]
    return {
        "weight": math.fsum(_mass(weights[row], visible[row], keys) for row in real) / len(real),
        "weight_uniform": math.fsum(sum(visible[row][key] for key in keys) / sum(visible[row]) for row in real)
        / len(real),
        "weight_positional": _positional(weights, visible, real, keys),
        "rank": math.fsum(rank for rank, _ in ranks) / len(ranks) if ranks else math.nan,
        "keys": math.fsum(count for _, count in ranks) / len(ranks) if ranks else math.nan,
        "top_weight": math.fsum(weights[row][top] for row, top in zip(real, tops, strict=True)) / len(real),
        "top_share": max(tops.count(top) for top in tops) / len(tops),
    }


def _mass(row: Sequence[float], visible: Sequence[bool], keys: Sequence[int]) -> float:
    return math.fsum(row[key] for key in keys if visible[key])


def _rank(row: Sequence[float], visible: Sequence[bool], keys: Sequence[int]) -> tuple[float, int]:
    """Return the rank of the keys as one among the visible keys, the mean of those it could have, and their number."""
    mass = _mass(row, visible, keys)
    others = [row[key] for key in range(len(row)) if visible[key] and key not in keys]
    equal = sum(math.isclose(other, mass, rel_tol=1e-6) for other in others)
    above = sum(other > mass and not math.isclose(other, mass, rel_tol=1e-6) for other in others)
    return sum(1 + above + number for number in range(equal + 1)) / (equal + 1), len(others) + 1


def _positional(weights: Matrix, visible: Sequence[Sequence[bool]], rows: Sequence[int], keys: Sequence[int]) -> float:
    """Return the mean over rows of the mean weight of all other rows at the offset of each visible key."""
    means, pairs = [], 0
    for row in rows:
        for key in keys:
            if not visible[row][key]:
                continue
            pairs += 1
            at_offset = [
                weights[other][other + key - row]
                for other in range(len(weights))
                if other != row and 0 <= other + key - row < len(weights[0]) and visible[other][other + key - row]
            ]
            if at_offset:
                means.append(math.fsum(at_offset) / len(at_offset))
    if not pairs:
        return 0.0
    return math.fsum(means) / len(means) * pairs / len(rows) if means else math.nan
