"""Which row of a table changes most from the first checkpoint of a series to the last, for each measure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from attncli.data import Array

_HEAD = ("kind", "layer", "head")


@dataclass(frozen=True)
class SeriesChange:
    """The largest change of a measure from the first to the last checkpoint.

    row   what names the row: the kind, layer and head, or all columns that are no measures
    rows  number of rows that both checkpoints have, of which this has the largest change
    """

    measure: str
    row: Mapping[str, Any]
    before: float
    after: float
    rows: int

    @property
    def change(self) -> float:
        return self.after - self.before

    @property
    def document(self) -> dict[str, Any]:
        """The change as plain values."""
        numbers = {"before": self.before, "after": self.after, "change": self.change, "rows": self.rows}
        return {"measure": self.measure, "row": dict(self.row), **numbers}


def largest_changes(first: Mapping[str, Array], last: Mapping[str, Array]) -> list[SeriesChange]:
    """Return the largest change of each measure that both tables have; measures are columns of fractions.

    Rows are the same if they have the same kind, layer and head, or else the same entries in all columns that are no
    measures. Empty if this does not tell rows apart.
    """
    keys = _row_keys(first, last)
    before, after = ({key: at for at, key in enumerate(_keys(table, keys))} for table in (first, last))
    if not keys or any(len(index) < _rows(table) for index, table in ((before, first), (after, last))):
        return []
    shared = [key for key in before if key in after]
    ours, theirs = ([index[key] for key in shared] for index in (before, after))
    changes = []
    for name in (name for name, column in first.items() if column.dtype.kind == "f" and name in last):
        old, new = first[name][ours], last[name][theirs].astype(float)
        sizes = np.abs(new - old)
        if np.isfinite(sizes).any():
            at = int(np.nanargmax(np.where(np.isfinite(sizes), sizes, np.nan)))
            row = dict(zip(keys, shared[at], strict=True))
            changes.append(SeriesChange(name, row, float(old[at]), float(new[at]), len(shared)))
    return changes


def _row_keys(first: Mapping[str, Array], last: Mapping[str, Array]) -> tuple[str, ...]:
    """Return the columns that name a row."""
    if all(name in table for name in _HEAD for table in (first, last)) and _tells_apart(first, _HEAD):
        return _HEAD
    return tuple(name for name, column in first.items() if column.dtype.kind != "f" and name in last)


def _tells_apart(table: Mapping[str, Array], names: tuple[str, ...]) -> bool:
    return len(set(_keys(table, names))) == _rows(table)


def _keys(table: Mapping[str, Array], names: tuple[str, ...]) -> list[tuple[Any, ...]]:
    return list(zip(*(table[name].tolist() for name in names), strict=True))


def _rows(table: Mapping[str, Array]) -> int:
    return len(next(iter(table.values()), ()))
