"""Texts from a column of a table: JSON Lines, CSV, Parquet."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attncli.errors import UsageError, did_you_mean
from attncli.inputs.text_files import check_text, read_lines, type_name

if TYPE_CHECKING:
    import _csv


def jsonl_rows(path: Path, what: str) -> Iterator[tuple[dict[str, Any], int]]:
    """Yield the objects of a JSON Lines file with their line numbers, without blank lines.

    what  what an object should contain, for errors
    """
    for line, number in read_lines(path):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
            raise UsageError(f"{path}, line {number} is not JSON: {reason}") from error
        if not isinstance(row, dict):
            raise UsageError(f"{path}, line {number}: expected a JSON object {what}, got {type_name(row)}")
        yield row, number


def _read_jsonl(path: Path, column: str) -> Iterator[str]:
    for row, number in jsonl_rows(path, f"with '{column}'"):
        if column not in row:
            raise _missing_column(f"{path}, line {number}", column, list(row))
        yield _cell(f"{path}, line {number}", column, row[column])


def _read_csv(path: Path, column: str) -> Iterator[str]:
    # a text may be longer than 128 KiB, the default limit of the csv module
    limit = csv.field_size_limit(2**31 - 1)
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    lines = (line for line, _ in read_lines(path, keep_ends=True))
    rows = csv.reader(lines, delimiter=delimiter, strict=True)
    try:
        yield from _csv_cells(path, column, rows)
    except csv.Error as error:
        raise UsageError(f"{path}, line {rows.line_num} is broken CSV: {error}") from error
    finally:
        csv.field_size_limit(limit)


def _csv_cells(path: Path, column: str, rows: _csv.Reader) -> Iterator[str]:
    header: list[str] = next(rows, [])
    if not header:  # an empty file: the caller raises the error for a file without texts
        return
    if header.count(column) > 1:
        raise UsageError(f"{path} has {header.count(column)} columns named '{column}': rename all but one")
    if column not in header:
        raise _missing_column(str(path), column, header)
    index = header.index(column)
    for row in rows:
        if row and len(row) != len(header):
            raise UsageError(
                f"{path}, line {rows.line_num} is broken CSV: expected {len(header)} cells as in the header, "
                f"got {len(row)}; quote cells with commas"
            )
        if row:
            yield row[index]


def _read_parquet(path: Path, column: str) -> Iterator[str]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise UsageError('Parquet needs pyarrow: pip install "attncli[parquet]"') from error
    try:
        with pq.ParquetFile(path) as file:
            if column not in file.schema_arrow.names:
                raise _missing_column(str(path), column, file.schema_arrow.names)
            number = 0
            for batch in file.iter_batches(batch_size=1024, columns=[column]):
                for cell in batch.column(0).to_pylist():
                    number += 1
                    yield _cell(f"{path}, row {number}", column, cell)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"cannot read {path} as Parquet: {reason}") from error


TABLES: dict[str, Callable[[Path, str], Iterator[str]]] = {
    ".jsonl": _read_jsonl,
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".parquet": _read_parquet,
}


def _missing_column(where: str, column: str, known: list[str]) -> UsageError:
    hint = did_you_mean(column, known)
    columns = f" (columns: {', '.join(known)})" if hint.startswith("did") else ""
    return UsageError(f"{where} has no column '{column}': {hint}{columns}; choose one with --column")


def _cell(where: str, column: str, cell: object) -> str:
    if not isinstance(cell, str):
        raise UsageError(f"{where}: expected a text in column '{column}', got {type_name(cell)}")
    return check_text(where, cell)
