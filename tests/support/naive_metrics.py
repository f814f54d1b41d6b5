"""What the common tests need to know about a metric. Each metric's test file declares it as `CASE`.

The reference implementation is written directly from the definition: Python floats, loops, one head of one text.
`weights[i][j]` and `visible[i][j]` are of the unpadded text, `special[j]` of its keys. None means undefined.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from attncli.data import KINDS, Kind

Matrix = list[list[float]]
Mask = list[list[bool]]
Special = list[bool]
Value = float | None
SELF_ATTENTION: tuple[Kind, ...] = ("encoder", "decoder")
TOKENS = 6
"""Length of the text of the closed forms; its first and last token are special."""


@dataclass(frozen=True)
class Case:
    """Expectations of one metric.

    reference  (weights, visible, special) → a value per row or key, or for a column metric one value
    uniform    expected values if every row is uniform: per row, per key, or one value; NaN if undefined
    last_key   expected values if every row gives all its weight to the last key
    kinds      kinds of attention for which the metric is defined
    largest    largest value in rows that a learned sink takes part of, if it is above the declared range
    """

    reference: Callable[[Matrix, Mask, Special], Any]
    uniform: float | Sequence[float]
    last_key: float | Sequence[float]
    kinds: tuple[Kind, ...] = KINDS
    largest: float | None = None


def case(name: str) -> Case:
    """Return the case of a metric, from its test file."""
    declared: Case = importlib.import_module(f"metrics.test_{name}").CASE
    return declared


def by_row(visible: Mask, value: Callable[[int], Value]) -> list[Value]:
    """Return the value of each row that sees a key, None for the others."""
    return [value(i) if any(row) else None for i, row in enumerate(visible)]


def mean(values: Sequence[Value]) -> Value:
    """Return the mean of the defined values: the value of a head for one text."""
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if defined else None


def at_offset(weights: Matrix, visible: Mask, offset: int) -> list[Value]:
    """Return the weight of each row at an offset, None if that key does not exist or is masked."""
    return [
        row[i + offset] if 0 <= i + offset < len(row) and visible[i][i + offset] else None
        for i, row in enumerate(weights)
    ]


def weighted_mean(weights: Matrix, visible: Mask, value: Callable[[int, int], float]) -> list[Value]:
    """Return for each row the mean of value(i, j), weighted by its weights."""

    def of_row(i: int) -> Value:
        total = sum(weights[i])
        return sum(weight * value(i, j) for j, weight in enumerate(weights[i])) / total if total > 0 else None

    return by_row(visible, of_row)


def min_rows(visible: Mask, share: float = 0) -> float:
    """Return over how many rows a mean has to be taken to compete: 5 or a share of them, or all rows if fewer."""
    rows = sum(map(any, visible))
    return min(max(5, share * rows), rows)
