"""How much attention goes between the segments of texts: of a pass, or of maps that are already there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from attncli.data import KINDS, Attention, Input, Kind, Selection, Spans
from attncli.engine.measuring import as_single_heads
from attncli.errors import UsageError
from attncli.inputs.partitions import Sides, check_has_segments, partitions
from attncli.stream.replay import replay
from attncli.studies.segments.compute import SegmentMassBeside
from attncli.studies.segments.result import Segments

MOST = 128
"""Segments of a side: their pairs are as many as a table and a person can bear."""
Place = tuple[int, Kind]


@dataclass(frozen=True)
class Dividing:
    """How texts are divided.

    by     auto, segment, paragraph or line
    spans  of each text the stretches that are its segments, instead
    """

    by: str = "auto"
    spans: tuple[Spans, ...] | None = None

    def sides(self, inputs: Sequence[Input], kinds: Sequence[Kind]) -> dict[Place, Sides]:
        """The segments of the queries and keys of each text; where there is only one a `UsageError`."""
        if self.spans is not None and len(self.spans) != len(inputs):
            raise UsageError(
                f"there are segments for {len(self.spans)} texts and {len(inputs)} texts: "
                "give a list with an object for each"
            )
        found: dict[Place, Sides] = {}
        for at, one in enumerate(inputs):
            spans = None if self.spans is None else self.spans[at]
            found |= {(one.index, kind): partitions(one, kind, self.by, spans) for kind in kinds}
        check_has_segments(inputs, list(found.values()))
        most = max(len(side.names) for sides in found.values() for side in sides)
        if most > MOST:
            raise UsageError(f"a text has {most} segments, at most {MOST} can be told apart: divide it less finely")
        return found


def sink_for(
    dividing: Dividing, inputs: Sequence[Input], heads: Selection, combine: tuple[str, str]
) -> tuple[SegmentMassBeside, Mapping[Place, Sides]]:
    """The sink for these texts and heads, and their segments; `combine`: what becomes of heads and of layers."""
    if combine[0] == "max":
        raise UsageError("attention between segments is a sum of weights: expected --aggregate none or mean, got max")
    sides = dividing.sides(inputs, [kind for kind in KINDS if any(of == kind for of, _ in heads)])
    means = {"mean_heads": combine[0] == "mean", "mean_layers": combine[1] == "mean"}
    return SegmentMassBeside(inputs, sides, heads, **means), sides


def segments_of(
    maps: Sequence[Attention], inputs: Sequence[Input], dividing: Dividing
) -> tuple[Segments, Mapping[Place, Sides]]:
    """The same of kept maps, and the segments; means over heads or layers are what they stand for."""
    singles = as_single_heads(maps)
    heads: Selection = {(each.kind, int(layer.layer)): layer.heads for each in singles for layer in each.layers}
    sink, sides = sink_for(dividing, inputs, heads, (maps[0].aggregate, maps[0].aggregate_layers))
    for attention in singles:
        replay(attention, [sink])
    return sink.result(), sides
