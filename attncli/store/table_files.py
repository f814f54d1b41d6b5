"""Tables as files: CSV, JSON Lines and Parquet, in one or several parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path

from attncli.data import Array
from attncli.store.files import atomic_file
from attncli.store.tables import arrow, arrow_table, table_csv, table_jsonl
from attncli.store.text import utf8

Parts = Iterable[Mapping[str, Array]]


def write_table(path: Path, format: str, parts: Parts, schema: str) -> None:
    """Write a table whole or not at all.

    format  csv, jsonl or parquet
    parts   the columns, perhaps in several parts with the same columns
    schema  name in the metadata of Parquet files
    """
    with atomic_file(path) as temporary:
        _WRITERS[format](temporary, parts, schema)


def _write_csv(path: Path, parts: Parts, schema: str) -> None:
    with path.open("wb") as file:
        for number, part in enumerate(parts):
            file.write(utf8(table_csv(part, header=not number)))


def _write_jsonl(path: Path, parts: Parts, schema: str) -> None:
    with path.open("wb") as file:
        for part in parts:
            file.write(table_jsonl(part).encode())


def _write_parquet(path: Path, parts: Parts, schema: str) -> None:
    with ExitStack() as stack:
        writer = None
        for part in parts:
            table = arrow_table(part, schema)
            if writer is None:
                writer = stack.enter_context(arrow().parquet.ParquetWriter(path, table.schema))
            writer.write_table(table)


_WRITERS: Mapping[str, Callable[[Path, Parts, str], None]] = {
    "csv": _write_csv,
    "jsonl": _write_jsonl,
    "parquet": _write_parquet,
}
