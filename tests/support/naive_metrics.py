"""Every row and column measure written once more from its definition: Python floats, loops, one head of one text.

`weights[i][j]` and `sees[i][j]` are of the unpadded text; `special[j]` of its keys. None is undefined.
"""

from __future__ import annotations

import math
from collections.abc import Callable

Matrix = list[list[float]]
Sees = list[list[bool]]
Special = list[bool]
Value = float | None


def _rows(sees: Sees) -> list[int]:
    """The rows that see anything."""
    return [i for i in range(len(sees)) if any(sees[i])]


def entropy(weights: Matrix, sees: Sees, special: Special) -> list[Value]:
    found: list[Value] = [None] * len(weights)
    for i in _rows(sees):
        total = 0.0
        for weight in weights[i]:
            if weight > 0:
                total -= weight * math.log(weight)
        found[i] = total
    return found


def entropy_normalized(weights: Matrix, sees: Sees, special: Special) -> list[Value]:
    found: list[Value] = []
    for i, value in enumerate(entropy(weights, sees, special)):
        seen = sum(sees[i])
        found.append(value / math.log(seen) if value is not None and seen > 1 else None)
    return found


def effective_keys(weights: Matrix, sees: Sees, special: Special) -> list[Value]:
    return [None if value is None else math.exp(value) for value in entropy(weights, sees, special)]


def confidence(weights: Matrix, sees: Sees, special: Special) -> list[Value]:
    found: list[Value] = [None] * len(weights)
    for i in _rows(sees):
        found[i] = max(weights[i])
    return found


def _moment(weights: Matrix, sees: Sees, far: Callable[[int, int], float]) -> list[Value]:
    found: list[Value] = [None] * len(weights)
    for i in _rows(sees):
        above = sum(weight * far(i, j) for j, weight in enumerate(weights[i]))
        below = sum(weights[i])
        found[i] = above / below if below > 0 else None
    return found


def distance(weights: Matrix, sees: Sees, special: Special) -> list[Value]:
    return _moment(weights, sees, lambda i, j: abs(i - j))


def offset(weights: Matrix, sees: Sees, special: Special) -> list[Value]:
    return _moment(weights, sees, lambda i, j: j - i)


def distance_ratio(weights: Matrix, sees: Sees, special: Special) -> list[Value]:
    found: list[Value] = []
    for i, value in enumerate(distance(weights, sees, special)):
        apart = [abs(i - j) for j in range(len(sees[i])) if sees[i][j]]
        even = sum(apart) / max(len(apart), 1)
        found.append(value / even if value is not None and even > 0 else None)
    return found


def _at(weights: Matrix, sees: Sees, step: int) -> list[Value]:
    found: list[Value] = [None] * len(weights)
    for i in range(len(weights)):
        if 0 <= i + step < len(weights[i]) and sees[i][i + step]:
            found[i] = weights[i][i + step]
    return found


def self_mass(weights: Matrix, sees: Sees, special: Special) -> list[Value]:
    return _at(weights, sees, 0)


def previous_mass(weights: Matrix, sees: Sees, special: Special) -> list[Value]:
    return _at(weights, sees, -1)


def next_mass(weights: Matrix, sees: Sees, special: Special) -> list[Value]:
    return _at(weights, sees, 1)


def local_mass(weights: Matrix, sees: Sees, special: Special) -> list[Value]:
    found: list[Value] = [None] * len(weights)
    for i in _rows(sees):
        found[i] = sum(weight for j, weight in enumerate(weights[i]) if abs(i - j) <= 2)
    return found


def first_mass(weights: Matrix, sees: Sees, special: Special) -> list[Value]:
    found: list[Value] = [None] * len(weights)
    for i in _rows(sees):
        if sees[i][0] and sum(sees[i]) > 1:
            found[i] = weights[i][0]
    return found


def special_mass(weights: Matrix, sees: Sees, special: Special) -> list[Value]:
    found: list[Value] = [None] * len(weights)
    if any(special):
        for i in _rows(sees):
            found[i] = sum(weight for j, weight in enumerate(weights[i]) if special[j])
    return found


def missing_mass(weights: Matrix, sees: Sees, special: Special) -> list[Value]:
    found: list[Value] = [None] * len(weights)
    for i in _rows(sees):
        found[i] = 1 - sum(weights[i])
    return found


def alignment_distance(weights: Matrix, sees: Sees, special: Special) -> list[Value]:
    found: list[Value] = [None] * len(weights)
    n, m = len(weights), len(special)
    if n > 1 and m > 1:
        for i in _rows(sees):
            found[i] = sum(weight * abs(i / (n - 1) - j / (m - 1)) for j, weight in enumerate(weights[i]))
    return found


def received(weights: Matrix, sees: Sees, special: Special) -> list[Value]:
    found: list[Value] = []
    for k in range(len(special)):
        column = [weights[i][k] for i in range(len(weights)) if sees[i][k]]
        found.append(sum(column) / len(column) if column else None)
    return found


def _enough(sees: Sees) -> int:
    return min(5, len(_rows(sees)))


def _sinks(weights: Matrix, sees: Sees, special: Special) -> dict[int, float]:
    found = {}
    for k, value in enumerate(received(weights, sees, special)):
        rows = sum(sees[i][k] for i in range(len(sees)))
        if value is not None and rows >= _enough(sees):
            found[k] = value
    return found


def sink(weights: Matrix, sees: Sees, special: Special) -> Value:
    return max(_sinks(weights, sees, special).values(), default=None)


def sink_position(weights: Matrix, sees: Sees, special: Special) -> Value:
    found = _sinks(weights, sees, special)
    return max(found, key=lambda k: found[k], default=None)


def _diagonals(weights: Matrix, sees: Sees) -> dict[int, float]:
    found = {}
    for step in range(-8, 9):
        values = [value for value in _at(weights, sees, step) if value is not None]
        if values and len(values) >= _enough(sees):
            found[step] = sum(values) / len(values)
    return found


def diagonal(weights: Matrix, sees: Sees, special: Special) -> Value:
    return max(_diagonals(weights, sees).values(), default=None)


def diagonal_offset(weights: Matrix, sees: Sees, special: Special) -> Value:
    found = _diagonals(weights, sees)
    return max(sorted(found, key=abs), key=lambda step: found[step], default=None)


ROW = {
    each.__name__: each
    for each in (
        *(entropy, entropy_normalized, effective_keys, confidence, distance, distance_ratio, offset),
        *(self_mass, previous_mass, next_mass, local_mass, first_mass, special_mass, missing_mass),
        alignment_distance,
    )
}
COLUMN = {each.__name__: each for each in (sink, sink_position, diagonal, diagonal_offset)}
SELF_ONLY = {
    *("distance", "distance_ratio", "offset"),
    *("self_mass", "previous_mass", "next_mass", "local_mass"),
}
CROSS_ONLY = {"alignment_distance"}


def applies(name: str, kind: str) -> bool:
    """Whether a measure has a meaning for this kind of attention."""
    return kind not in ("cross",) if name in SELF_ONLY else kind == "cross" or name not in CROSS_ONLY


def mean(values: list[Value]) -> Value:
    """A head's value for one text."""
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if defined else None
