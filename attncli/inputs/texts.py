"""Texts given as strings, and texts and chats read from files and stdin."""

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import Any

from attncli.data import Text
from attncli.errors import UsageError, did_you_mean
from attncli.inputs.text_files import (
    STDIN,
    check_exists,
    check_text,
    display_name,
    read_file_text,
    read_json,
    read_lines,
    type_name,
)

_CSV_LIMIT = Lock()
Texts = str | Text | Sequence[str | Text]
_MANY_LINES, _SHORT_LINE = 20, 100
"""From how many lines on a file may be one text, and the characters that its median line then has at most."""


def parse_texts(text: Texts, pair: str | None = None, target: str | None = None) -> list[Text]:
    """Return texts as `Text` objects; raise UsageError if there is none or one is empty."""
    if not isinstance(text, str | Text) and (isinstance(text, dict | bytes) or not isinstance(text, Iterable)):
        raise UsageError(f"expected a text or several texts, got {type_name(text)}")
    given = [text] if isinstance(text, str | Text) else list(text)
    if not given:
        raise UsageError("there is no text to read: give at least one")
    for item in given:
        check_text("--text", item.text if isinstance(item, Text) else item)
    texts = [text if isinstance(text, Text) else Text(text) for text in given]
    options: dict[str, Any] = {"pair": pair, "target": target}
    options = {name: value for name, value in options.items() if value is not None}
    if options and len(texts) > 1:
        raise UsageError(f"--{next(iter(options))} goes with one text, got {len(texts)}: run them one by one")
    if options:
        texts = [replace(texts[0], **options)]
    for text in texts:
        for name, value in (("text", text.text), ("pair", text.pair), ("target", text.target)):
            if value is not None and not check_text(f"--{name}", value).strip() and not text.messages:
                raise UsageError(f"--{name} is empty: give at least one word")
    return texts


def read_chat(path: str | Path) -> Text:
    """Return a chat from a JSON file: a list of `{"role": …, "content": …}`, or an object with it as `messages`."""
    where, document = display_name(path), read_json(path)
    messages = document.get("messages") if isinstance(document, dict) else document
    if not isinstance(messages, list) or not messages:
        raise UsageError(f'{where}: expected a list of {{"role": …, "content": …}}, got {type_name(messages)}')
    checked = tuple(_check_message(f"{where}, message {n}", message) for n, message in enumerate(messages, start=1))
    return Text("\n".join(message["content"] for message in checked), messages=checked)


def _check_message(where: str, message: object) -> dict[str, str]:
    if not isinstance(message, dict):
        raise UsageError(f'{where}: expected {{"role": …, "content": …}}, got {type_name(message)}')
    for name in ("role", "content"):
        if name not in message:
            raise UsageError(f"{where} has no '{name}': {did_you_mean(name, message)}")
    for name, value in message.items():
        if not isinstance(value, str):
            raise UsageError(f"{where}: expected a text as '{name}', got {type_name(value)}")
        check_text(where, value)
    return dict(message)


def read_texts(path: str | Path, column: str | None = None) -> Iterator[Text]:
    """Return an iterator over the texts of a file; `-` is stdin.

    A plain file has one text per line. `.jsonl`, `.csv`, `.tsv` and `.parquet` have one text per row, in `column`
    (default `text`). Blank texts are skipped. Raises `UsageError` for a file without texts and for a broken file; some
    errors appear only when the iterator reaches them.
    """
    suffix = "" if str(path) == STDIN else Path(path).suffix.lower()
    known = ", ".join(_TABLES)
    if suffix == ".json":
        raise UsageError(f"cannot tell what is a text in {path}: expected {known}, or plain text, one per line")
    check_exists(path)
    if reader := _TABLES.get(suffix):
        return _not_blank(path, reader(Path(path), column or "text"))
    if column is not None:
        raise UsageError(f"{display_name(path)} has no columns: --column '{column}' goes with {known}")
    return _not_blank(path, (line for line, _ in read_lines(path)))


def read_whole_text(path: str | Path) -> str:
    """Return the whole text of a file, without line ends after it; `-` is stdin. Raise UsageError if it is blank."""
    check_exists(path)
    text = read_file_text(path).rstrip("\r\n")
    if not text.strip():
        raise UsageError(f"{display_name(path)} contains no text: expected at least one word")
    return text


def one_text_note(path: str | Path, texts: Sequence[Text]) -> str:
    """Return a note that a .txt file of many short lines may be one text; "" for any other file."""
    lengths = sorted(len(text.text) for text in texts)
    if Path(path).suffix.lower() != ".txt" or len(lengths) < _MANY_LINES or lengths[len(lengths) // 2] > _SHORT_LINE:
        return ""
    return f"{display_name(path)} is read as {len(lengths)} texts, one a line; --text-file reads it as one text"


def _not_blank(path: str | Path, texts: Iterator[str]) -> Iterator[Text]:
    any_text = False
    for text in texts:
        if text.strip():
            any_text = True
            yield Text(text)
    if not any_text:
        raise UsageError(f"{display_name(path)} contains no text: expected at least one that is not blank")


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
        _check_column(f"{path}, line {number}", column, list(row))
        yield _cell(f"{path}, line {number}", column, row[column])


def _read_csv(path: Path, column: str) -> Iterator[str]:
    lines = (line for line, _ in read_lines(path, keep_ends=True))
    reader = csv.reader(lines, delimiter="\t" if path.suffix.lower() == ".tsv" else ",", strict=True)
    rows = _long_rows(reader)
    try:
        header: list[str] = next(rows, [])
        if not header:  # an empty file: the caller raises the error for a file without texts
            return
        if header.count(column) > 1:
            raise UsageError(f"{path} has {header.count(column)} columns named '{column}': rename all but one")
        _check_column(str(path), column, header)
        for row in filter(None, rows):
            if len(row) != len(header):
                raise UsageError(
                    f"{path}, line {reader.line_num} is broken CSV: expected {len(header)} cells as in the header, "
                    f"got {len(row)}; quote cells with commas"
                )
            yield row[header.index(column)]
    except csv.Error as error:
        raise UsageError(f"{path}, line {reader.line_num} is broken CSV: {error}") from error


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


def _read_parquet(path: Path, column: str) -> Iterator[str]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise UsageError('Parquet needs pyarrow: pip install "attncli[parquet]"') from error
    number = 0
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            if names.count(column) > 1:
                raise UsageError(f"{path} has {names.count(column)} columns named '{column}': rename all but one")
            _check_column(str(path), column, names)
            for batch in file.iter_batches(batch_size=1024, columns=[column]):
                for cell in batch.column(0).to_pylist():
                    number += 1
                    yield _cell(f"{path}, row {number}", column, cell)
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path}, row {number + 1} or later is not UTF-8 ({error.reason}): repair the texts"
        ) from error
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"cannot read {path} as Parquet: {reason}") from error


_TABLES: dict[str, Callable[[Path, str], Iterator[str]]] = {
    ".jsonl": _read_jsonl,
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".parquet": _read_parquet,
}


def _check_column(where: str, column: str, known: list[str]) -> None:
    if column not in known:
        hint = did_you_mean(column, known)
        columns = f" (columns: {', '.join(known)})" if hint.startswith("did") else ""
        raise UsageError(f"{where} has no column '{column}': {hint}{columns}; choose one with --column")


def _cell(where: str, column: str, cell: object) -> str:
    if not isinstance(cell, str):
        raise UsageError(f"{where}: expected a text in column '{column}', got {type_name(cell)}")
    return check_text(where, cell)
