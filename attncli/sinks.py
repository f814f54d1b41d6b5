"""Where the stream of row blocks ends: keep maps, reduce to measures; each sink holds only what its scope needs."""

from __future__ import annotations

from typing import Protocol

from attncli.data import Kind, Rows


class Sink(Protocol):
    """What capture pushes row blocks into; it cannot tell a sentence from a book."""

    def add(self, rows: Rows) -> None:
        """Take one block. Blocks of a layer come in order of rows, all heads before the next rows or any split."""

    def end_layer(self, kind: Kind, layer: int) -> None:
        """All rows of this layer of the current batch went by."""
