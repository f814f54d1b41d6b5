"""Retrieval scores of all heads between the segments of texts, as columns of the table of segments."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from attncli.data import Array, Input, Kind, Rows
from attncli.inputs.partitions import Sides
from attncli.stream.retrieval import BaselinedRetrieval, retrieval_columns
from attncli.studies.segments.sides import RowsAsOf, TextSides

RETRIEVAL_SOURCE = "Wu et al. 2024: share of written tokens whose top key, where they are predicted, is the same token"


class RetrievalScores:
    """A sink for retrieval scores from each segment that is read where it is predicted, to all segments."""

    def __init__(self, inputs: Sequence[Input], sides: TextSides, rows_as: RowsAsOf) -> None:
        predicted = {
            (text, kind): [name for name in queries.names if rows_as(name, kind) == "predicted"]
            for (text, kind), (queries, _) in sides.items()
        }
        passages = {key: keys for key, (_, keys) in sides.items()}
        written: dict[str, dict[tuple[int, Kind], Array]] = {}
        for key, names in predicted.items():
            for name in names:
                written.setdefault(name, {})[key] = _positions(sides[key], name)
        self._sinks = {name: BaselinedRetrieval(inputs, of_name, passages) for name, of_name in written.items()}

    def add(self, rows: Rows) -> None:
        for sink in self._sinks.values():
            sink.add(rows)

    def end_layer(self, kind: Kind, layer: int) -> None:
        for sink in self._sinks.values():
            sink.end_layer(kind, layer)

    def columns(self, cells: Sequence[tuple[Any, ...]]) -> dict[str, Array]:
        """Return the columns of the scores for the cells (kind, layer, head, from, to), NaN where undefined."""
        found = {
            (*head, name, passage): score
            for name, sink in self._sinks.items()
            for (*head, passage), score in sink.result().items()
        }
        return retrieval_columns(found, cells)


def _positions(sides: Sides, name: str) -> Array:
    queries, _ = sides
    return np.flatnonzero(queries.numbers == queries.names.index(name))
