"""The strongest edges as Parquet, written while they are found: schema `attncli.edges/1`."""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType
from typing import Any

from attncli.data import KINDS, Edges
from attncli.store.files import atomic_file
from attncli.store.folder import OutputFolder
from attncli.store.tables import arrow
from attncli.store.text import utf8

SCHEMA = "attncli.edges/1"
NAME = "edges.parquet"


class EdgesFile:
    """`edges.parquet` of a folder, chunk by chunk: `with EdgesFile(folder) as file: … file.take(edges)`.

    Until the block ends well it is a temporary file, which vanishes on any error; folder and file are made for the
    first chunk. Missing pyarrow is a `UsageError` at once.
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
            self.take(Edges.none(()))
        self._open.__exit__(kind, error, trace)

    def take(self, edges: Edges) -> None:
        """Write one chunk."""
        table = self._table(edges)
        if self._writer is None:
            path = self._open.enter_context(atomic_file(self._folder.path_for(NAME)))
            self._writer = self._open.enter_context(self._arrow.parquet.ParquetWriter(path, table.schema))
        self._writer.write_table(table)

    def _table(self, edges: Edges) -> Any:
        pa = self._arrow
        columns = {
            "text": pa.array(edges.text),
            "kind": self._coded(edges.kind, KINDS),
            "layer": pa.array(edges.layer),
            "head": pa.array(edges.head),
            "query": pa.array(edges.query),
            "key": pa.array(edges.key),
            "query_token": self._coded(*edges.query_tokens()),
            "key_token": self._coded(*edges.key_tokens()),
            "weight": pa.array(edges.weight),
        }
        return pa.table(columns).replace_schema_metadata({"schema": SCHEMA})

    def _coded(self, numbers: Any, pieces: Any) -> Any:
        words = self._arrow.array([utf8(piece).decode() for piece in pieces], self._arrow.string())
        return self._arrow.DictionaryArray.from_arrays(self._arrow.array(numbers).cast("int32"), words)
