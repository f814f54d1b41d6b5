"""Tables of importance: files of `attncli importance`, its result, and tables of weights of the same form."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attncli.data.head_weights import HeadId, HeadWeights
from attncli.errors import UsageError
from attncli.inputs.text_files import check_exists, read_file_text, read_json
from attncli.vocabulary import IMPORTANCE_MEASURES, WEIGHTS_FILE

Row = Mapping[str, Any]
WEIGHTS = WEIGHTS_FILE.removesuffix("FILE")
_EXPECTED = "importance.json, importance.csv or importance.parquet, or a table with kind, layer, head and weight"


@dataclass(frozen=True)
class ImportanceTable:
    """A row for each head, group or layer.

    main   the column of the main effect, or `weight`
    model  name of the model; "" if the file does not say it
    """

    rows: Sequence[Row]
    main: str
    model: str = ""


def read_importance(path: str, where: str) -> ImportanceTable:
    """Return the table in a file of `attncli importance`, which its columns say; raise UsageError if it is none.

    where  how messages name the file
    """
    suffix = Path(path).suffix.lower()
    if suffix == ".csv":
        return _table(where, list(csv.DictReader(io.StringIO(read_file_text(_existing(path))))))
    if suffix == ".parquet":
        return _table(where, _parquet_rows(_existing(path)))
    document = read_json(path)
    if not isinstance(document, dict) or document.get("schema") != "attncli.importance/1":
        raise UsageError(f"{where} is no importance.json: expected the schema attncli.importance/1")
    rows, main, run = document.get("heads"), str(document.get("main")), document.get("run")
    is_table = isinstance(rows, list) and rows and all(isinstance(row, dict) for row in rows)
    if not is_table or main not in IMPORTANCE_MEASURES:
        raise UsageError(f"{where} is damaged: expected a list of heads and the name of the main effect")
    model = run.get("model") if isinstance(run, dict) else None
    return ImportanceTable(rows, main, model if isinstance(model, str) else "")  # type: ignore[arg-type]  # checked


def _existing(path: str) -> str:
    check_exists(path)
    return path


def _parquet_rows(path: str) -> list[Row]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise UsageError('Parquet needs pyarrow: pip install "attncli[parquet]"') from error
    try:
        rows: list[Row] = pq.read_table(path).to_pylist()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path} as Parquet: {str(error).splitlines()[0]}") from error
    return rows


def _table(where: str, rows: Sequence[Row]) -> ImportanceTable:
    main = next((name for name in (rows[0] if rows else ()) if name in ("weight", *IMPORTANCE_MEASURES)), None)
    if main is None:
        raise UsageError(f"{where} has no column of effects: expected {_EXPECTED}")
    return ImportanceTable(rows, main)


def parse_aggregate(given: Any) -> HeadWeights | None:
    """Return the weights that a value of `--aggregate` names; None if it is another text."""
    return head_weights(given) if is_weights(given) else None


def is_weights(given: Any) -> bool:
    """Return whether a value of `--aggregate` gives weights, in a file or as a table."""
    return not isinstance(given, str) or given.startswith(WEIGHTS)


def head_weights(given: Any) -> HeadWeights:
    """Return the weights of heads in a file (`weights:FILE`), in a result of `importance` or in a table with columns.

    Raise UsageError if it is none of these, has no rows of single heads, or a number is missing.
    """
    if isinstance(given, str):
        path = given.removeprefix(WEIGHTS).strip()
        where = f"--aggregate {WEIGHTS}{Path(path).name}"
        if not path:
            raise UsageError(f"--aggregate {WEIGHTS} names no file: expected {_EXPECTED}")
        return _weights(where, read_importance(path, where))
    where = "the table of weights"
    columns = given.table() if callable(getattr(given, "table", None)) else given
    columns = columns.to_dict("list") if hasattr(columns, "to_dict") else columns
    if not isinstance(columns, Mapping) or not all(isinstance(name, str) for name in columns):
        raise UsageError(
            f"expected aggregate to be none, mean, max, {WEIGHTS}FILE, a result of importance or a table, got "
            f"{type(given).__name__}"
        )
    try:
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*map(list, columns.values()), strict=True)]
    except (TypeError, ValueError) as error:
        raise UsageError(f"{where}: expected columns of the same length") from error
    return _weights(where, _table(where, rows))


def _weights(where: str, table: ImportanceTable) -> HeadWeights:
    values: dict[HeadId, float] = {}
    for number, row in enumerate(table.rows, 1):
        head = row.get("head")
        if "group" in row or _is_missing(head):
            unit = "group" if "group" in row else "layer"
            raise UsageError(f"{where} is by {unit}: heads are combined by numbers of single heads (--unit head)")
        try:
            key: Any = str(row["kind"]), int(row["layer"]), int(head)  # type: ignore[arg-type]  # not None
            value = float(row[table.main])
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(f"{where}, row {number}: expected kind, layer, head and {table.main}") from error
        if not math.isfinite(value):
            raise UsageError(f"{where}, row {number}: expected a finite number as {table.main}, got {value}")
        if key in values:
            raise UsageError(f"{where}, row {number}: {key[0]} head {key[1]}.{key[2]} has a row already")
        values[key] = -value if table.main == "probability" else value  # a classifier loses probability
    return HeadWeights(where, values, table.model)


def _is_missing(value: Any) -> bool:
    return value in (None, "") or value != value
