"""The segments of texts on both sides, and the rows that stand for the tokens of each segment."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import torch

from attncli.data import Array, Input, Kind, RowsAs, Spans
from attncli.data.segments import GENERATED, order_segment_names
from attncli.errors import UsageError
from attncli.inputs.partitions import Sides, check_has_segments, partitions
from attncli.inputs.rows_as import predicting_rows, rows_of

TextSides = Mapping[tuple[int, Kind], Sides]
"""The segments of the queries and of the keys, by text and kind."""
MOST_SEGMENTS = 128
"""Largest number of segments on a side; more pairs are of no use in a table."""


class RowsAsOf(Protocol):
    """A function that returns which rows stand for the tokens of a segment."""

    def __call__(self, name: str, kind: Kind, /) -> RowsAs:
        """Return input or predicted for a segment of this name in this kind of attention."""


def segments_of_texts(
    inputs: Sequence[Input], kinds: Sequence[Kind], divide: str, spans: Sequence[Spans] | None
) -> TextSides:
    """Return the segments of the queries and keys of each text and kind.

    divide  auto, segment, paragraph, line or sentence
    spans   the spans of the segments, one mapping for each text, instead of `divide`
    Raise UsageError if a text has a single segment or too many, or if the spans are not one for each text.
    """
    if spans is not None and len(spans) != len(inputs):
        raise UsageError(
            f"there are segments for {len(spans)} texts and {len(inputs)} texts: give a list with an object for each"
        )
    sides = {
        (text.index, kind): partitions(text, kind, divide, None if spans is None else spans[number])
        for number, text in enumerate(inputs)
        for kind in kinds
    }
    check_has_segments(inputs, list(sides.values()))
    most = max(len(side.names) for both in sides.values() for side in both)
    if most > MOST_SEGMENTS:
        raise UsageError(f"a text has {most} segments, expected at most {MOST_SEGMENTS}: divide it into fewer")
    return sides


def names_of_sides(sides: TextSides, kind: Kind) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of the segments of queries and of keys that any text has."""
    texts = sorted(text for text, other in sides if other == kind)
    queries, keys = (
        order_segment_names(dict.fromkeys(name for text in texts for name in sides[text, kind][side].names))
        for side in (0, 1)
    )
    return queries, keys


def members(
    text: Input, kind: Kind, sides: Sides, names: tuple[Sequence[str], Sequence[str]], rows_as: RowsAsOf
) -> tuple[Array, Array]:
    """Return [row, segment] and [key, segment]: 1 if the row stands for a token of the segment, or the key is in it.

    A row may stand for two tokens: its own, and the next one, which it predicts.
    """
    queries, keys = (np.zeros((len(part.numbers), len(of_side))) for part, of_side in zip(sides, names, strict=True))
    tokens, (of_queries, of_keys) = text.sides(kind)[0], sides
    for number, name in enumerate(of_queries.names):
        positions = np.flatnonzero(of_queries.numbers == number)
        queries[rows_of(tokens, positions, rows_as(name, kind)), names[0].index(name)] = 1
    keys[np.arange(len(keys)), [names[1].index(of_keys.names[number]) for number in of_keys.numbers]] = 1
    return queries, keys


def generated_rows(text: Input, kind: Kind, rows_as: RowsAsOf) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the positions of the queries that the model generated, and of the rows that stand for them."""
    queries = text.sides(kind)[0]
    positions = np.flatnonzero(np.array([name == GENERATED for name in queries.segments]) & ~queries.special)
    if rows_as(GENERATED, kind) == "input":
        return torch.from_numpy(positions), torch.from_numpy(positions)
    rows = predicting_rows(queries)[positions]
    return torch.from_numpy(positions[rows >= 0]), torch.from_numpy(rows[rows >= 0])
