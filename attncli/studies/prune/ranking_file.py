"""An order of heads from a file of `attncli importance`, or from its result."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from attncli.errors import UsageError
from attncli.inputs.importance_file import read_importance
from attncli.studies.importance.result import Importance
from attncli.studies.importance.units import Unit
from attncli.studies.prune.compute import UnitOrder
from attncli.studies.prune.result import loss_of, ranked_by
from attncli.vocabulary import IMPORTANCE_MEASURES

Row = Mapping[str, Any]


def ranking_of_result(result: Importance, units: Sequence[Unit]) -> UnitOrder:
    """Return the units in the order of a result of `importance`; raise UsageError if it is of other heads."""
    columns = {name: column.tolist() for name, column in result.columns.items()}
    rows = [{name: values[row] for name, values in columns.items()} for row in range(len(columns["kind"]))]
    return _ranking("the importance", rows, ranked_by(result.measures), units)


def ranking_of_file(path: str, units: Sequence[Unit]) -> UnitOrder:
    """Return the units in the order of importance.json or importance.csv.

    Raise UsageError if the file is none of these, or is about other heads.
    """
    where = f"--importance {Path(path).name}"
    table = read_importance(path, where)
    measures = [table.main, *(name for name in IMPORTANCE_MEASURES if name in table.rows[0])]
    return _ranking(where, table.rows, ranked_by(measures), units)


def _ranking(where: str, rows: Iterable[Row], main: str, units: Sequence[Unit]) -> UnitOrder:
    known: dict[tuple[Any, ...], float] = {}
    for number, row in enumerate(rows, 1):
        try:
            unit = row["group"] if row.get("group") not in (None, "") else row["head"]
            known[str(row["kind"]), int(row["layer"]), "group" in row, int(unit)] = float(row[main])
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(f"{where}, head {number}: expected kind, layer, head or group, and {main}") from error
    values = np.zeros(len(units))
    for place, unit in enumerate(units):
        key = (*unit.layer, unit.group is not None, unit.head if unit.group is None else unit.group)
        if key not in known:
            raise UsageError(
                f"{where} has no {unit.layer[0]} {'head' if unit.group is None else 'group'} {unit.name}: "
                "measure the importance of the same heads of this model, with the same --unit"
            )
        values[place] = known[key]
    if not np.isfinite(values).all():
        raise UsageError(f"{where}: expected a number for each head, got NaN")
    sizes = loss_of(main, values)
    return UnitOrder(tuple(np.argsort(sizes, kind="stable").tolist()), sizes)
