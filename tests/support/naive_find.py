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
    """Return the mean over rows of the share of the keys, if weights are the mean weights at each offset."""
    others = [row for row in range(len(weights)) if row not in rows]
    shares = []
    for row in rows:
        by_key = {
            key: _at_offset(weights, visible, others, key - row) or _at_offset(weights, visible, rows, key - row)
            for key in range(len(weights[row]))
            if visible[row][key]
        }
        means = {key: math.fsum(at_offset) / len(at_offset) for key, at_offset in by_key.items()}
        total = math.fsum(means.values())
        shares.append(math.fsum(mean for key, mean in means.items() if key in keys) / total if total else 0.0)
    return math.fsum(shares) / len(shares)


def _at_offset(weights: Matrix, visible: Sequence[Sequence[bool]], rows: Sequence[int], offset: int) -> list[float]:
    """Return the weights of those rows that see a key at this offset."""
    return [
        weights[row][row + offset] for row in rows if 0 <= row + offset < len(weights[0]) and visible[row][row + offset]
    ]
