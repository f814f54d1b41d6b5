"""The strongest edges as a Parquet file, written during the forward pass: schema `attncli.edges/1`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any

from attncli.data import Array, Edges
from attncli.store.files import atomic_file
from attncli.store.folder import OutputFolder
from attncli.store.tables import arrow
from attncli.store.text import utf8

if TYPE_CHECKING:
    import pyarrow as pa

SCHEMA = "attncli.edges/1"
NAME = "edges.parquet"


class EdgesFile:
    """`edges.parquet` in a folder, written in chunks: `with EdgesFile(folder) as file: … file.take(edges)`.

    The file is temporary until the block ends, and deleted on any error. Folder and file are created for the first
    chunk. Raises `UsageError` at once if pyarrow is missing.
    """

    def __init__(self, folder: OutputFolder) -> None:
        self._arrow = arrow()
        self._folder = folder
        self._open = ExitStack()
        self._writer: Any = None

    def __enter__(self) -> EdgesFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self._writer is None:
            self.take(Edges.empty(()))
        self._open.__exit__(kind, error, trace)

    def take(self, edges: Edges) -> None:
        """Write a chunk of edges."""
        table = self._table(edges)
        if self._writer is None:
            path = self._open.enter_context(atomic_file(self._folder.path_for(NAME)))
            self._writer = self._open.enter_context(self._arrow.parquet.ParquetWriter(path, table.schema))
        self._writer.write_table(table)

    def _table(self, edges: Edges) -> pa.Table:
        return self._arrow.table(edges.columns(self._categories)).replace_schema_metadata({"schema": SCHEMA})

    def _categories(self, numbers: Array, pieces: Sequence[str]) -> pa.DictionaryArray:
        texts = self._arrow.array([utf8(piece).decode() for piece in pieces], self._arrow.string())
        return self._arrow.DictionaryArray.from_arrays(self._arrow.array(numbers).cast("int32"), texts)
