"""How texts are divided into segments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from attncli.data import Input, Kind, Spans
from attncli.errors import UsageError
from attncli.inputs.partitions import Sides, check_has_segments, partitions

MOST_SEGMENTS = 128
"""Largest number of segments on a side; more pairs are of no use in a table."""


@dataclass(frozen=True)
class Division:
    """How texts are divided into segments.

    by     auto, segment, paragraph or line
    spans  the spans of the segments, one mapping for each text, instead of `by`
    """

    by: str = "auto"
    spans: tuple[Spans, ...] | None = None

    def sides(self, inputs: Sequence[Input], kinds: Sequence[Kind]) -> dict[tuple[int, Kind], Sides]:
        """Return the segments of the queries and keys of each text and kind.

        Raise UsageError if a text has a single segment or too many, or if the spans are not one for each text.
        """
        if self.spans is not None and len(self.spans) != len(inputs):
            raise UsageError(
                f"there are segments for {len(self.spans)} texts and {len(inputs)} texts: "
                "give a list with an object for each"
            )
        sides: dict[tuple[int, Kind], Sides] = {}
        for number, text in enumerate(inputs):
            spans = None if self.spans is None else self.spans[number]
            sides |= {(text.index, kind): partitions(text, kind, self.by, spans) for kind in kinds}
        check_has_segments(inputs, list(sides.values()))
        most = max(len(side.names) for both in sides.values() for side in both)
        if most > MOST_SEGMENTS:
            raise UsageError(f"a text has {most} segments, expected at most {MOST_SEGMENTS}: divide it into fewer")
        return sides
