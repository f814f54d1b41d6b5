"""The rows of text files, one text each, from any row on; a row that holds no text is an error as a value."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from threading import Lock
from typing import IO, Any, NamedTuple, Protocol

from attncli.errors import UsageError
from attncli.inputs.compressed import compression, damage_named, inner_suffix, open_content
from attncli.inputs.parquet_rows import ParquetRows
from attncli.inputs.row_values import MissingColumnError, TextRow, cell_text, check_column
from attncli.inputs.text_files import check_exists, decode_utf8, type_name

TABLES = (".jsonl", ".csv", ".tsv", ".parquet")
"""Suffixes of files with columns."""
_CSV_LIMIT = Lock()


class Line(NamedTuple):
    """A line: its text, its number from 1, where it begins in bytes, and what is wrong with it."""

    text: str
    number: int
    offset: int
    error: UsageError | None = None


class RowReader(Protocol):
    """The rows of a file or of a dataset.

    unit  what errors call a row: line or row
    """

    unit: str

    def rows(self, offset: int = 0, number: int = 1) -> Iterator[TextRow]:
        """Yield the rows from one on, which begins at `offset` and has this number; forward costs least."""

    def close(self) -> None:
        """Close the file."""


LineParser = Callable[[str, Iterator[Line], str], Iterator[TextRow]]


def reader_of(path: Path, column: str | None) -> RowReader:
    """Return the reader of a file by its suffix; raise UsageError if it cannot have texts in a column."""
    suffix, known = inner_suffix(path), ", ".join(TABLES)
    if suffix == ".json":
        raise UsageError(f"cannot tell what is a text in {path}: expected {known}, or plain text, one per line")
    if suffix == ".parquet":
        if compression(path):
            raise UsageError(f"cannot read {path}: Parquet is compressed inside; decompress the file")
        return ParquetRows(path, column or "text")
    if suffix in TABLES:
        return FileRows(path, column or "text")
    if column is not None:
        raise UsageError(f"{path} has no columns: --column '{column}' goes with {known}")
    return FileRows(path, "")


class FileRows:
    """The rows of a file of lines; a compressed file stays open, so that later rows need no reading from its start."""

    unit = "line"

    def __init__(self, path: Path, column: str) -> None:
        self._path, self._column = path, column
        self._kept: IO[bytes] | None = None
        self._header: list[str] | None = None

    def rows(self, offset: int = 0, number: int = 1) -> Iterator[TextRow]:
        suffix, keep_ends = inner_suffix(self._path), False
        parse: LineParser = _plain_rows
        if suffix == ".jsonl":
            parse = _jsonl_rows
        elif suffix in (".csv", ".tsv"):
            keep_ends = True
            header = self._csv_header() if offset else None
            parse = partial(_csv_rows, delimiter="\t" if suffix == ".tsv" else ",", header=header)
        check_exists(self._path)
        with damage_named(self._path):
            file, self._kept = self._kept or open_content(self._path), None  # two readers at a time need two files
            try:
                file.seek(offset)
                yield from parse(
                    str(self._path), decoded_lines(self._path, file, offset, number, keep_ends), self._column
                )
            finally:
                if compression(self._path) and self._kept is None:
                    self._kept = file
                else:
                    file.close()

    def _csv_header(self) -> list[str]:
        if self._header is None:
            with damage_named(self._path), open_content(self._path) as file:
                lines = decoded_lines(self._path, file, keep_ends=True)
                delimiter = "\t" if inner_suffix(self._path) == ".tsv" else ","
                self._header = next(csv.reader((line.text for line in lines), delimiter=delimiter, strict=True), [])
        return self._header

    def close(self) -> None:
        if self._kept is not None:
            self._kept.close()
        self._kept = None


def decoded_lines(
    path: str | Path, file: Iterable[bytes], offset: int = 0, number: int = 1, keep_ends: bool = False
) -> Iterator[Line]:
    """Yield the lines of a file from a line on; one that is not UTF-8 has an error, and escapes in its text."""
    for line_number, data in enumerate(file, start=number):
        error = None
        try:
            text = decode_utf8(path, data, offset, line_number)
        except UsageError as raised:
            text, error = data.decode("utf-8", "surrogateescape"), raised
        yield Line(text if keep_ends else text.removesuffix("\n").removesuffix("\r"), line_number, offset, error)
        offset += len(data)


def _plain_rows(name: str, lines: Iterator[Line], column: str) -> Iterator[TextRow]:
    for line in lines:
        yield TextRow(line.offset, line.number, line.error or line.text)


def _jsonl_rows(name: str, lines: Iterator[Line], column: str) -> Iterator[TextRow]:
    for line in lines:
        if line.error or line.text.strip():
            yield TextRow(line.offset, line.number, _json_text(name, line, column))


def _json_text(name: str, line: Line, column: str) -> str | UsageError:
    where = f"{name}, line {line.number}"
    try:
        row = json_object(where, line, f"with '{column}'")
        check_column(where, column, list(row))
        return cell_text(where, column, row[column])
    except UsageError as error:
        return error


def json_object(where: str, line: Line, what: str) -> dict[str, Any]:
    """Return the JSON object in a line; raise UsageError if there is none.

    what  what an object should contain, for errors
    """
    if line.error is not None:
        raise line.error
    try:
        row = json.loads(line.text)
    except (ValueError, RecursionError) as error:
        reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
        raise UsageError(f"{where} is not JSON: {reason}") from error
    if not isinstance(row, dict):
        raise UsageError(f"{where}: expected a JSON object {what}, got {type_name(row)}")
    return row


def _csv_rows(
    name: str, lines: Iterator[Line], column: str, delimiter: str = ",", header: list[str] | None = None
) -> Iterator[TextRow]:
    """Yield the rows of CSV; raise UsageError for broken quotes: nobody can tell where the next row begins.

    header  the names of the columns if the lines begin after them
    """
    read: list[Line] = []

    def texts() -> Iterator[str]:
        for line in lines:
            read.append(line)
            yield line.text

    rows = _long_rows(csv.reader(texts(), delimiter=delimiter, strict=True))
    try:
        if header is None:
            header = next(rows, [])
            for line in read:
                if line.error is not None:
                    raise line.error
            if not header:  # an empty file: the caller raises the error for a file without texts
                return
            read.clear()
        index = _column_index(name, column, header)
        for row in rows:
            if row:
                yield TextRow(read[0].offset, read[0].number, _csv_text(name, read, row, len(header), index))
            read.clear()
    except csv.Error as error:
        raise UsageError(f"{name}, line {read[-1].number if read else 1} is broken CSV: {error}") from error


def _column_index(name: str, column: str, header: list[str]) -> int:
    if header.count(column) > 1:
        raise MissingColumnError(f"{name} has {header.count(column)} columns named '{column}': rename all but one")
    check_column(name, column, header)
    return header.index(column)


def _csv_text(name: str, lines: list[Line], row: list[str], cells: int, index: int) -> str | UsageError:
    errors = [line.error for line in lines if line.error is not None]
    if errors:
        return errors[0]
    if len(row) != cells:
        return UsageError(
            f"{name}, line {lines[-1].number} is broken CSV: expected {cells} cells as in the header, "
            f"got {len(row)}; quote cells with commas"
        )
    return row[index]


def _long_rows(reader: Iterator[list[str]]) -> Iterator[list[str]]:
    """Yield rows with texts of any length; the limit of the csv module, 128 KiB, is one of the whole process."""
    while True:
        with _CSV_LIMIT:
            limit = csv.field_size_limit(2**31 - 1)
            try:
                row = next(reader, None)
            finally:
                csv.field_size_limit(limit)
        if row is None:
            return
        yield row
