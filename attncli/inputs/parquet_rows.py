"""The rows of a Parquet file, read in row groups."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attncli.errors import UsageError
from attncli.inputs.row_values import MissingColumnError, TextRow, cell_text, check_column

_BATCH = 1024


class ForwardRows:
    """Rows that can be read only from some rows on: what was read last goes on where it stopped.

    unit  what errors call a row
    """

    unit = "row"

    def __init__(self) -> None:
        self._stopped: tuple[int, Iterator[TextRow]] | None = None

    def rows(self, offset: int = 0, number: int = 1) -> Iterator[TextRow]:
        """Yield the rows from one on, which has `offset` rows before it."""
        start, (following, reading) = self._last_start(offset), self._stopped or (-1, iter(()))
        self._stopped = None  # two readers at a time must not share rows
        if not start <= following <= offset:
            following, reading = start, self._rows_from(start)
        try:
            for row in reading:
                following = row.offset + 1
                if row.offset >= offset:
                    yield row
        except GeneratorExit:
            self._stopped = following, reading
            raise

    def close(self) -> None:
        """Close the file."""
        self._stopped = None

    def _last_start(self, offset: int) -> int:
        """Return the last row, up to this one, that reading can begin with."""
        return 0

    def _rows_from(self, start: int) -> Iterator[TextRow]:
        raise NotImplementedError


class ParquetRows(ForwardRows):
    """The rows of a Parquet file; reading begins with a row group."""

    def __init__(self, path: Path, column: str) -> None:
        super().__init__()
        self._path, self._column = path, column
        self._starts: list[int] | None = None

    def _last_start(self, offset: int) -> int:
        if not offset:
            return 0
        if self._starts is None:
            import pyarrow.parquet as pq

            with pq.ParquetFile(self._path) as file:
                self._starts = _group_starts(file)
        return self._starts[bisect_right(self._starts, offset) - 1]

    def _rows_from(self, start: int) -> Iterator[TextRow]:
        try:
            import pyarrow as pa
            import pyarrow.parquet as pq
        except ImportError as error:
            raise UsageError('Parquet needs pyarrow: pip install "attncli[parquet]"') from error
        offset = start
        try:
            with pq.ParquetFile(self._path) as file:
                groups = range(_group_starts(file).index(start), file.num_row_groups)
                self._check_columns(file.schema_arrow.names)
                for batch in file.iter_batches(batch_size=_BATCH, row_groups=groups, columns=[self._column]):
                    for cell in _cells(batch.column(0)):
                        yield TextRow(offset, offset + 1, self._text(offset + 1, cell))
                        offset += 1
        except (pa.ArrowException, OSError) as error:
            reason = str(error).splitlines()[0]
            raise UsageError(f"cannot read {self._path} as Parquet: {reason}") from error

    def _check_columns(self, names: list[str]) -> None:
        if names.count(self._column) > 1:
            count = names.count(self._column)
            raise MissingColumnError(f"{self._path} has {count} columns named '{self._column}': rename all but one")
        check_column(str(self._path), self._column, names)

    def _text(self, number: int, cell: object) -> str | UsageError:
        where = f"{self._path}, row {number}"
        if isinstance(cell, UnicodeDecodeError):
            return UsageError(f"{where} is not UTF-8 ({cell.reason}): repair the text")
        try:
            return cell_text(where, self._column, cell)
        except UsageError as error:
            return error


def _group_starts(file: Any) -> list[int]:
    """Return the number of rows before each row group."""
    starts = [0]
    for group in range(file.num_row_groups):
        starts.append(starts[-1] + file.metadata.row_group(group).num_rows)
    return starts[:-1] or [0]


def _cells(column: Any) -> Iterator[object]:
    """Yield the cells of a column; one that is not UTF-8 as the error."""
    try:
        yield from column.to_pylist()
        return
    except UnicodeDecodeError:
        pass
    for scalar in column:
        try:
            yield scalar.as_py()
        except UnicodeDecodeError as error:
            yield error
