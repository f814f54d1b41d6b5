"""Tables as CSV, JSON Lines and Parquet files, and the parts that documents of results share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from attncli.data import (
    Array,
    By,
    Edges,
    EdgesConsumer,
    Input,
    Metric,
    RunInfo,
    Scores,
    Statistics,
    Tokens,
    columns_of,
    kind_order,
)
from attncli.data.corpus_counts import CorpusCounts
from attncli.data.results import NOISE
from attncli.data.surfaces import token_texts
from attncli.errors import UsageError
from attncli.store.files import atomic_file
from attncli.store.folder import OutputFolder, run_document
from attncli.store.text import json_line, plain, utf8

if TYPE_CHECKING:
    import pyarrow as pa

TableColumns = Mapping[str, Array]
"""A table: column name → one entry per row."""
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def document_head(
    schema: str, info: RunInfo, inputs: Sequence[Input], heads: TableColumns, corpus: CorpusCounts | None = None
) -> dict[str, Any]:
    """Return the first keys of a document: schema, run, and the inputs for each kind in the table of heads.

    corpus  the size of a corpus, whose texts are not listed
    """
    kinds = set(heads["kind"].tolist()) if "kind" in heads else set()
    entries = []
    for text_input in inputs:
        texts = {"text": text_input.text.text, "pair": text_input.text.pair, "target": text_input.text.target}
        given = {name: text for name, text in texts.items() if text is not None}
        for kind in sorted(kinds, key=kind_order):
            queries, keys = text_input.sides(kind)
            sides = {"kind": kind, **token_lists(queries, keys)}
            parts = {"query_segments": list(queries.segments), "key_segments": list(keys.segments)}
            named = {name: segments for name, segments in parts.items() if any(segments)}
            entries.append({"index": text_input.index, **given, **sides, **named})
    counts = {} if corpus is None else {"corpus": corpus.document}
    return {"schema": schema, "run": run_document(info, given=False), "inputs": entries, **counts}


def token_lists(queries: Tokens, keys: Tokens) -> dict[str, list[str]]:
    """Return the tokens of both sides for a document: their text as written, and their exact vocabulary pieces."""
    return {
        "queries": token_texts(queries),
        "keys": token_texts(keys),
        "query_pieces": list(queries.vocabulary_pieces),
        "key_pieces": list(keys.vocabulary_pieces),
    }


def analysis_document(
    schema: str, info: RunInfo, more: Mapping[str, Any], tables: Mapping[str, TableColumns]
) -> dict[str, Any]:
    """Return the JSON document of an analysis: schema and run, then `more`, then the tables as lists of rows."""
    values = {name: plain(value) for name, value in more.items()}
    rows = {name: list(records(columns)) for name, columns in tables.items()}
    return {"schema": schema, "run": run_document(info, given=False), **values, **rows}


def declared_numbers(scores: Mapping[str, Scores], questions: Mapping[str, str]) -> dict[str, Any]:
    """Return unit, range, source and question of numbers, as documents state them."""
    return {name: _declared(score, questions[name]) for name, score in scores.items()}


def metric_entries(statistics: Statistics, declarations: Mapping[str, Metric]) -> dict[str, dict[str, Any]]:
    """Return unit, range, source and question of every measured metric.

    Attention to special tokens by name has a question too, other metrics without a declaration have none.
    """
    measured = {**statistics.heads, **statistics.tokens, **statistics.keys}
    questions = {name: f"How much attention goes to {name.removesuffix('_mass')}?" for name in statistics.special or ()}
    return {
        name: _declared(metric, metric.question)
        if (metric := declarations.get(name))
        else _declared(scores, questions.get(name, ""))
        for name, scores in measured.items()
    }


def _declared(numbers: Scores | Metric, question: str) -> dict[str, Any]:
    return {"unit": numbers.unit, "range": list(numbers.range), "source": numbers.source, "question": question}


def statistics_tables(statistics: Statistics) -> dict[str, dict[str, Array]]:
    """Return the tables by file name: `stats`, and `stats-tokens` and `stats-keys` if they were measured."""
    tables = {"stats": statistics.table()}
    if statistics.tokens:
        tables["stats-tokens"] = columns_of(statistics.tokens)
    if statistics.keys:
        tables["stats-keys"] = columns_of(statistics.keys)
    return {name: mark_unit(columns, statistics.by) for name, columns in tables.items()}


def mark_unit(columns: TableColumns, by: By) -> dict[str, Array]:
    """Return the table, with a last column `by` unless it measures weights."""
    rows = len(next(iter(columns.values()), ()))
    return dict(columns) if by == "weight" else {**columns, "by": np.full(rows, by, dtype=object)}


def records(columns: TableColumns) -> Iterator[dict[str, Any]]:
    """Yield the rows of a table as plain values; undefined values are None."""
    names = list(columns)
    for row in zip(*map(plain_column, columns.values()), strict=True):
        yield dict(zip(names, row, strict=True))


def plain_column(column: Array) -> list[Any]:
    """Return the entries of a column as plain values; undefined values are None."""
    values: list[Any] = column.tolist()
    if column.dtype.kind == "f":
        return [value if math.isfinite(value) else None for value in values]
    if column.dtype.kind == "O":
        return [value.item() if isinstance(value, np.generic) else value for value in values]
    return values


def table_csv(columns: TableColumns, header: bool = True, *, safe: bool = False) -> str:
    """Return a table as CSV: rounded numbers, an empty cell if undefined, `""` for an empty text.

    Numbers have six significant digits; those below 1e-6 are 0. JSON Lines and Parquet have all digits.
    With `safe`, texts that a spreadsheet would run as formulas begin with `'`.
    """
    cell = partial(_csv_cell, safe=safe)
    lines = [",".join(map(cell, columns))] if header else []
    lines += map(",".join, zip(*([*map(cell, plain_column(column))] for column in columns.values()), strict=True))
    return "".join(f"{line}\n" for line in lines)


def _csv_cell(value: object, safe: bool) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return repr(_rounded(value))
    text = value if isinstance(value, str) else repr(value)
    if safe and isinstance(value, str) and value.startswith(_FORMULA_STARTS):
        text = f"'{text}"
    # csv.writer of Python 3.11 does not quote a single carriage return, which ends the row for readers; GitHub Actions
    # takes a line that begins with :: for a command
    if text.startswith("::") or text == "" or any(character in text for character in ',"\r\n') or text != text.strip():
        return '"' + text.replace('"', '""') + '"'
    return text


def _rounded(value: float) -> float:
    """Return a number with six significant digits, of which float32 weights have seven; 0 for rounding errors.

    >>> _rounded(0.123456789), _rounded(0.9999999998), _rounded(-1e-9), _rounded(2.5e-5)
    (0.123457, 1.0, 0.0, 2.5e-05)
    """
    return 0.0 if abs(value) < NOISE else float(f"{value:.6g}")


def defined_columns(columns: TableColumns, keep: Iterable[str] = ()) -> dict[str, Array]:
    """Return a table without the columns of numbers that are undefined in every row, unless `keep` names them.

    Such a column is empty by definition, as `previous_mass` of cross-attention is. If no number is defined at all, as
    after a division by zero, every column stays.
    """
    empty = {name for name, column in columns.items() if column.dtype.kind == "f" and not np.isfinite(column).any()}
    numbers = {name for name, column in columns.items() if column.dtype.kind == "f"}
    left_out = empty - set(keep) if empty != numbers else set()
    return {name: column for name, column in columns.items() if name not in left_out}


def table_jsonl(columns: TableColumns) -> str:
    """Return a table as JSON Lines: one object per row, null if undefined."""
    return "".join(map(json_line, records(columns)))


def write_table(path: Path, format: str, parts: Iterable[TableColumns], schema: str, *, csv_safe: bool = False) -> None:
    """Write a table as csv, jsonl or parquet, whole or not at all; its parts have the same columns."""
    with atomic_file(path) as temporary:
        if format == "parquet":
            _write_parquet(temporary, parts, schema)
            return
        with temporary.open("wb") as file:
            for number, part in enumerate(parts):
                as_csv = partial(table_csv, part, header=not number, safe=csv_safe)
                file.write(utf8(as_csv() if format == "csv" else table_jsonl(part)))


def _arrow() -> ModuleType:
    """Return the module pyarrow, with pyarrow.parquet; raise UsageError if it is not installed."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise UsageError('Parquet needs pyarrow: pip install "attncli[parquet]"') from error
    module: ModuleType = pyarrow
    return module


def _write_parquet(path: Path, parts: Iterable[TableColumns], schema: str) -> None:
    tables = (_arrow_table(part, schema) for part in parts)
    first = next(tables)
    with _arrow().parquet.ParquetWriter(path, first.schema) as writer:
        for table in chain([first], tables):
            writer.write_table(table)


def _arrow_table(columns: TableColumns, schema: str) -> pa.Table:
    """Return a table with the name of its schema, null if undefined."""
    pyarrow, arrays = _arrow(), {}
    for name, column in columns.items():
        # an empty column of objects would have no type
        type_of_empty = pyarrow.string() if column.dtype == object and not len(column) else None
        arrays[name] = pyarrow.array(_parquet_column(column), type_of_empty, from_pandas=True)
    return pyarrow.table(arrays).replace_schema_metadata({"schema": schema})


def _parquet_column(column: Array) -> Array | list[Any]:
    if column.dtype.kind in "OU":
        return [utf8(entry).decode() if isinstance(entry, str) else entry for entry in column.tolist()]
    return np.where(np.isinf(column), np.nan, column) if column.dtype.kind == "f" else column


@contextmanager
def edges_file(folder: OutputFolder) -> Iterator[EdgesConsumer]:
    """Return a context with a function that writes chunks of edges to `edges.parquet` in a folder.

    The file is temporary until the context ends, and deleted on any error. Folder and file are created for the first
    chunk. Raises `UsageError` at once if pyarrow is missing.
    """
    pyarrow = _arrow()
    writer: Any = None

    def categories(numbers: Array, pieces: Sequence[str]) -> pa.DictionaryArray:
        texts = pyarrow.array([utf8(piece).decode() for piece in pieces], pyarrow.string())
        return pyarrow.DictionaryArray.from_arrays(pyarrow.array(numbers).cast("int32"), texts)

    def write(edges: Edges) -> None:
        nonlocal writer
        table = pyarrow.table(edges.columns(categories)).replace_schema_metadata({"schema": "attncli.edges/1"})
        if writer is None:
            path = stack.enter_context(atomic_file(folder.path_for("edges.parquet")))
            writer = stack.enter_context(pyarrow.parquet.ParquetWriter(path, table.schema))
        writer.write_table(table)

    with ExitStack() as stack:
        yield write
        if writer is None:
            write(Edges.empty(()))
