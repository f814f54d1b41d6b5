"""Tables as text and bytes: CSV, JSON Lines, Parquet; and how documents of results begin."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from attncli.data import KINDS, Array, By, Input, Kind, RunInfo
from attncli.errors import UsageError
from attncli.store.folder import OutputFolder, run_document
from attncli.store.text import json_line, utf8

Columns = Mapping[str, Array]


def write_tables(folder: OutputFolder, tables: Mapping[str, Columns], formats: Sequence[str], schema: str) -> None:
    """Write each table under its name in those of `formats` that are of tables; `schema` is that of Parquet files."""
    for wanted in formats:
        for name, columns in tables.items() if wanted in _WRITERS else ():
            folder.write_bytes(f"{name}.{wanted}", _WRITERS[wanted](columns, schema))


def document_head(schema: str, info: RunInfo, inputs: Sequence[Input], heads: Columns) -> dict[str, Any]:
    """How documents of results begin: schema, run, and the inputs for the kinds that the table of heads has."""
    run = run_document(info, given=False)
    entries = [entry for one in inputs for entry in _input_entries(one, _kinds(heads))]
    return {"schema": schema, "run": run, "inputs": entries}


def mark_unit(columns: Columns, by: By) -> dict[str, Array]:
    """A table with a last column that says so where it is not of weights."""
    rows = len(next(iter(columns.values()), ()))
    return dict(columns) if by == "weight" else {**columns, "by": np.full(rows, by, dtype=object)}


def table_csv(columns: Columns, header: bool = True) -> str:
    """A table as CSV: shortest exact numbers, an empty cell where undefined, `""` for an empty text."""
    lines = [",".join(map(_cell, columns))] if header else []
    lines += map(",".join, zip(*([*map(_cell, _plain_column(column))] for column in columns.values()), strict=True))
    return "".join(f"{line}\n" for line in lines)


def table_jsonl(columns: Columns) -> str:
    """A table as JSON Lines: one object per row, null where undefined."""
    return "".join(map(json_line, records(columns)))


def table_parquet(columns: Columns, schema: str) -> bytes:
    """A table as Parquet with true types and the name of its schema, null where undefined; needs pyarrow."""
    buffer = io.BytesIO()
    arrow().parquet.write_table(arrow_table(columns, schema), buffer)
    return buffer.getvalue()


def arrow() -> Any:
    """pyarrow with its Parquet; a `UsageError` where it is not installed."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise UsageError('Parquet needs pyarrow: pip install "attncli[parquet]"') from error
    return pyarrow


def arrow_table(columns: Columns, schema: str) -> Any:
    """The same as pyarrow holds it, with the name of its schema."""
    pa = arrow()
    arrays = {
        # a column of objects without rows would have no type
        name: pa.array(
            _parquet_column(column),
            pa.string() if column.dtype == object and not len(column) else None,
            from_pandas=True,
        )
        for name, column in columns.items()
    }
    return pa.table(arrays).replace_schema_metadata({"schema": schema})


_WRITERS: dict[str, Callable[[Columns, str], bytes]] = {
    "csv": lambda columns, _: utf8(table_csv(columns)),
    "jsonl": lambda columns, _: table_jsonl(columns).encode(),
    "parquet": table_parquet,
}


def _kinds(heads: Columns) -> list[Kind]:
    there = set(heads["kind"].tolist()) if "kind" in heads else set()
    return [kind for kind in KINDS if kind in there]


def _input_entries(one: Input, kinds: Sequence[Kind]) -> Iterator[dict[str, Any]]:
    given = {"pair": one.text.pair, "target": one.text.target}
    more = {name: text for name, text in given.items() if text is not None}
    for kind in kinds:
        queries, keys = one.sides(kind)
        sides = {"kind": kind, "queries": list(queries.pieces), "keys": list(keys.pieces)}
        parts = {"query_segments": list(queries.segments), "key_segments": list(keys.segments)}
        named = {name: segments for name, segments in parts.items() if any(segments)}
        yield {"index": one.index, "text": one.text.text, **more, **sides, **named}


def records(columns: Columns) -> Iterator[dict[str, Any]]:
    """A table row by row as plain values; undefined is None."""
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


def _cell(value: Any) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else repr(value)
    # csv.writer of Python 3.11 leaves a bare carriage return unquoted, which ends the row for readers
    if text == "" or any(sign in text for sign in ',"\r\n') or text != text.strip():
        return '"' + text.replace('"', '""') + '"'
    return text


def _parquet_column(column: Array) -> Array | list[Any]:
    if column.dtype.kind in "OU":
        return [utf8(entry).decode() if isinstance(entry, str) else entry for entry in column.tolist()]
    return np.where(np.isinf(column), np.nan, column) if column.dtype.kind == "f" else column
