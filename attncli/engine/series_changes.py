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

    row   what names the row: the kind, layer and head, or the first columns that tell rows apart
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
    measures. Empty if this does not tell rows apart, or no row is the same.
    """
    keys = _row_keys(first, last)
    if not keys:
        return []
    before, after = ({key: at for at, key in enumerate(_entries(table, keys))} for table in (first, last))
    shared = [key for key in before if key in after]
    ours, theirs = ([rows[key] for key in shared] for rows in (before, after))
    named = next(count for count in range(1, len(keys) + 1) if _tells_apart(first, keys[:count]))
    changes = []
    for name in (name for name, column in first.items() if column.dtype.kind == "f" and name in last):
        old, new = first[name][ours], last[name][theirs].astype(float)
        sizes = np.abs(new - old)
        if np.isfinite(sizes).any():
            at = int(np.argmax(np.where(np.isfinite(sizes), sizes, -1.0)))
            row = dict(zip(keys[:named], shared[at], strict=False))
            changes.append(SeriesChange(name, row, float(old[at]), float(new[at]), len(shared)))
    return changes


def _row_keys(first: Mapping[str, Array], last: Mapping[str, Array]) -> tuple[str, ...]:
    """Return the columns that name a row; none if they do not tell rows apart.

    A column with one entry in both tables names nothing.
    """
    tables = (first, last)
    if all(name in table for name in _HEAD for table in tables) and all(_tells_apart(table, _HEAD) for table in tables):
        return _HEAD
    known = [name for name, column in first.items() if column.dtype.kind != "f" and name in last]
    names = tuple(name for name in known if len({*first[name].tolist(), *last[name].tolist()}) > 1)
    return names if names and all(_tells_apart(table, names) for table in tables) else ()


def _tells_apart(table: Mapping[str, Array], names: tuple[str, ...]) -> bool:
    return len(set(_entries(table, names))) == len(table[names[0]])


def _entries(table: Mapping[str, Array], names: tuple[str, ...]) -> list[tuple[Any, ...]]:
    """Return the entries of some columns for each row."""
    return list(zip(*(table[name].tolist() for name in names), strict=True))
