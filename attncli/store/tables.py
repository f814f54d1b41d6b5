"""Statistics as documents and tables: JSON, CSV, JSON Lines, Parquet."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from attncli.data import KINDS, Array, By, Input, Kind, RunInfo, Scores, Statistics, columns_of
from attncli.errors import UsageError, did_you_mean
from attncli.store.folder import OutputFolder, run_document
from attncli.store.text import json_line, json_text, utf8

SCHEMA = "attncli.stats/1"
FORMATS = ("json", "csv", "jsonl", "parquet")
Columns = Mapping[str, Array]


class Declaration(Protocol):
    """What a metric says about itself."""

    @property
    def unit(self) -> str: ...
    @property
    def range(self) -> tuple[float | None, float | None]: ...
    @property
    def source(self) -> str: ...
    @property
    def question(self) -> str: ...


def write_statistics(
    folder: OutputFolder,
    info: RunInfo,
    inputs: Sequence[Input],
    statistics: Statistics,
    declarations: Mapping[str, Declaration],
    formats: Sequence[str] = ("json", "csv"),
) -> dict[str, Any]:
    """Write `stats.<format>`, and `stats-tokens` and `stats-keys` where there are any; returns the document.

    JSON holds everything in one document; the other formats have one file per table.
    """
    for wanted in formats:
        if wanted not in FORMATS:
            raise UsageError(f"unknown format '{wanted}' of statistics: {did_you_mean(wanted, FORMATS)}")
    document = stats_document(info, inputs, statistics, declarations)
    if "json" in formats:
        folder.write_text("stats.json", json_text(document))
    write_tables(folder, statistics_tables(statistics), formats, SCHEMA)
    return document


def write_tables(folder: OutputFolder, tables: Mapping[str, Columns], formats: Sequence[str], schema: str) -> None:
    """Write each table under its name in those of `formats` that are of tables; `schema` is that of Parquet files."""
    for wanted in formats:
        for name, columns in tables.items() if wanted in _WRITERS else ():
            folder.write_bytes(f"{name}.{wanted}", _WRITERS[wanted](columns, schema))


def stats_document(
    info: RunInfo,
    inputs: Sequence[Input],
    statistics: Statistics,
    declarations: Mapping[str, Declaration],
) -> dict[str, Any]:
    """The contents of `stats.json`, schema `attncli.stats/1`: plain values, undefined is None.

    `run` lacks what was given on the command line: the same result has the same bytes wherever it was sent.
    """
    tables = statistics_tables(statistics)
    document = {
        **document_head(SCHEMA, info, inputs, tables["stats"]),
        **({} if statistics.by == "weight" else {"by": statistics.by}),
        "metrics": {name: _declared(score, declarations.get(name)) for name, score in _all_scores(statistics)},
        "heads": list(records(tables["stats"])),
    }
    for name, key in (("stats-tokens", "tokens"), ("stats-keys", "keys")):
        if name in tables:
            document[key] = list(records(tables[name]))
    return document


def document_head(schema: str, info: RunInfo, inputs: Sequence[Input], heads: Columns) -> dict[str, Any]:
    """How documents of results begin: schema, run, and the inputs for the kinds that the table of heads has."""
    run = run_document(info, given=False)
    entries = [entry for one in inputs for entry in _input_entries(one, _kinds(heads))]
    return {"schema": schema, "run": run, "inputs": entries}


def statistics_tables(statistics: Statistics) -> dict[str, dict[str, Array]]:
    """The tables by file name: `stats`, and `stats-tokens` and `stats-keys` where they were asked for."""
    tables = {"stats": columns_of(statistics.heads, statistics.std)}
    if statistics.tokens:
        tables["stats-tokens"] = columns_of(statistics.tokens)
    if statistics.keys:
        tables["stats-keys"] = columns_of(statistics.keys)
    return {name: mark_unit(columns, statistics.by) for name, columns in tables.items()}


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


def table_parquet(columns: Columns, schema: str = SCHEMA) -> bytes:
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


def _all_scores(statistics: Statistics) -> Iterator[tuple[str, Scores]]:
    for scores in (statistics.heads, statistics.tokens, statistics.keys):
        for name, score in scores.items():
            if scores is statistics.heads or name not in statistics.heads:
                yield name, score


def _declared(score: Scores, declaration: Declaration | None) -> dict[str, Any]:
    declared = declaration or score
    question = declaration.question if declaration else ""
    shown = {"unit": declared.unit, "range": list(declared.range), "source": declared.source}
    return {**shown, "question": question}


def declared_numbers(scores: Mapping[str, Scores], questions: Mapping[str, str]) -> dict[str, Any]:
    """Return unit, range, source and question of numbers, as documents state them."""
    return {
        name: {"unit": score.unit, "range": list(score.range), "source": score.source, "question": questions[name]}
        for name, score in scores.items()
    }


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
