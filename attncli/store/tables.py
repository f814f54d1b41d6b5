"""Tables as text and bytes: CSV, JSON Lines, Parquet; and how documents of results begin."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from attncli.data import KINDS, Array, By, Input, Kind, RunInfo, Scores
from attncli.errors import UsageError
from attncli.store.folder import OutputFolder, run_document
from attncli.store.text import json_line, utf8

if TYPE_CHECKING:
    import pyarrow as pa

TableColumns = Mapping[str, Array]
"""A table: column name → one entry per row."""


def write_tables(folder: OutputFolder, tables: Mapping[str, TableColumns], formats: Sequence[str], schema: str) -> None:
    """Write each table as `<name>.<format>`; formats without tables, such as json, are ignored.

    schema  name of the schema, written into Parquet files
    """
    for suffix in formats:
        for name, columns in tables.items() if suffix in _WRITERS else ():
            folder.write_bytes(f"{name}.{suffix}", _WRITERS[suffix](columns, schema))


def document_head(schema: str, info: RunInfo, inputs: Sequence[Input], heads: TableColumns) -> dict[str, Any]:
    """Return the first keys of a document: schema, run, and the inputs for each kind in the table of heads."""
    kinds = set(heads["kind"].tolist()) if "kind" in heads else set()
    entries = [entry for one in inputs for entry in _input_entries(one, [kind for kind in KINDS if kind in kinds])]
    return {"schema": schema, "run": run_document(info, given=False), "inputs": entries}


def mark_unit(columns: TableColumns, by: By) -> dict[str, Array]:
    """Return the table, with a last column `by` unless it measures weights."""
    rows = len(next(iter(columns.values()), ()))
    return dict(columns) if by == "weight" else {**columns, "by": np.full(rows, by, dtype=object)}


def table_csv(columns: TableColumns, header: bool = True) -> str:
    """Return a table as CSV: shortest exact numbers, an empty cell if undefined, `""` for an empty text."""
    lines = [",".join(map(_csv_cell, columns))] if header else []
    lines += map(",".join, zip(*([*map(_csv_cell, _plain_column(column))] for column in columns.values()), strict=True))
    return "".join(f"{line}\n" for line in lines)


def table_jsonl(columns: TableColumns) -> str:
    """Return a table as JSON Lines: one object per row, null if undefined."""
    return "".join(map(json_line, records(columns)))


def table_parquet(columns: TableColumns, schema: str) -> bytes:
    """Return a table as Parquet, with column types and the name of its schema, null if undefined; needs pyarrow."""
    buffer = io.BytesIO()
    arrow().parquet.write_table(arrow_table(columns, schema), buffer)
    return buffer.getvalue()


def arrow() -> ModuleType:
    """Return the module pyarrow, with pyarrow.parquet; raise UsageError if it is not installed."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise UsageError('Parquet needs pyarrow: pip install "attncli[parquet]"') from error
    module: ModuleType = pyarrow
    return module


def arrow_table(columns: TableColumns, schema: str) -> pa.Table:
    """Return a `pyarrow.Table` with the name of its schema."""
    module = arrow()
    arrays = {
        # an empty column of objects would have no type
        name: module.array(
            _parquet_column(column),
            module.string() if column.dtype == object and not len(column) else None,
            from_pandas=True,
        )
        for name, column in columns.items()
    }
    return module.table(arrays).replace_schema_metadata({"schema": schema})


_WRITERS: dict[str, Callable[[TableColumns, str], bytes]] = {
    "csv": lambda columns, _: utf8(table_csv(columns)),
    "jsonl": lambda columns, _: table_jsonl(columns).encode(),
    "parquet": table_parquet,
}


def _input_entries(one: Input, kinds: Sequence[Kind]) -> Iterator[dict[str, Any]]:
    texts = {"text": one.text.text, "pair": one.text.pair, "target": one.text.target}
    given = {name: text for name, text in texts.items() if text is not None}
    for kind in kinds:
        queries, keys = one.sides(kind)
        sides = {"kind": kind, "queries": list(queries.pieces), "keys": list(keys.pieces)}
        parts = {"query_segments": list(queries.segments), "key_segments": list(keys.segments)}
        named = {name: segments for name, segments in parts.items() if any(segments)}
        yield {"index": one.index, **given, **sides, **named}


def declared_numbers(scores: Mapping[str, Scores], questions: Mapping[str, str]) -> dict[str, Any]:
    """Return unit, range, source and question of numbers, as documents state them."""
    return {
        name: {"unit": score.unit, "range": list(score.range), "source": score.source, "question": questions[name]}
        for name, score in scores.items()
    }


def records(columns: TableColumns) -> Iterator[dict[str, Any]]:
    """Yield the rows of a table as plain values; undefined values are None."""
    names = list(columns)
    for row in zip(*map(_plain_column, columns.values()), strict=True):
        yield dict(zip(names, row, strict=True))


def _plain_column(column: Array) -> list[Any]:
    values: list[Any] = column.tolist()
    if column.dtype.kind == "f":
        return [value if math.isfinite(value) else None for value in values]
    if column.dtype.kind == "O":
        return [value.item() if isinstance(value, np.generic) else value for value in values]
    return values


def _csv_cell(value: object) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else repr(value)
    # csv.writer of Python 3.11 does not quote a single carriage return, which ends the row for readers
    if text == "" or any(character in text for character in ',"\r\n') or text != text.strip():
        return '"' + text.replace('"', '""') + '"'
    return text


def _parquet_column(column: Array) -> Array | list[Any]:
    if column.dtype.kind in "OU":
        return [utf8(entry).decode() if isinstance(entry, str) else entry for entry in column.tolist()]
    return np.where(np.isinf(column), np.nan, column) if column.dtype.kind == "f" else column
