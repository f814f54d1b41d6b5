"""What was measured on the texts of a shard as plain values and arrays, and that of all shards together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from attncli.data.part_states import PartState
from attncli.studies.faithfulness.compute import MeasuredParts
from attncli.studies.faithfulness.protocol import Part


def measured_state(measured: MeasuredParts, parts: Sequence[Part]) -> PartState:
    """Return what was measured on some texts as a state."""
    return {
        **{name: getattr(measured, name) for name in ("unit", "baseline", "kinds")},
        "explained": [entry["explained"] for entry in measured.entries],
        "parts": {
            part.name: _packed(part, [entry["parts"][part.name] for entry in measured.entries]) for part in parts
        },
    }


def merged_measures(states: Iterable[PartState], parts: Sequence[Part]) -> MeasuredParts:
    """Return what was measured on all texts, from the states of their shards in order."""
    first: PartState = {}
    entries: list[Mapping[str, Any]] = []
    for state in states:
        first = first or {name: state[name] for name in ("unit", "baseline", "kinds")}
        by_part = {part.name: _unpacked(state["parts"][part.name]) for part in parts}
        entries += [
            {"explained": explained, "parts": {name: next(of_part) for name, of_part in by_part.items()}}
            for explained in state["explained"]
        ]
    return MeasuredParts(first["unit"], first["baseline"], tuple(first["kinds"]), entries)


def _packed(part: Part, measured: Sequence[Mapping[str, Any]]) -> PartState:
    """Return the measures of one part on some texts: those that are arrays as one array, [text, ...]."""
    arrays = {name: np.array([of_text[name] for of_text in measured], np.float64) for name in part.arrays}
    return {"arrays": arrays, "values": [{key: of[key] for key in of if key not in arrays} for of in measured]}


def _unpacked(state: PartState) -> Iterator[Mapping[str, Any]]:
    """Yield the measures of one part on each text."""
    for row, values in enumerate(state["values"]):
        yield {**values, **{name: array[row] for name, array in state["arrays"].items()}}
