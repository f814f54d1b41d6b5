"""The effects on the texts of a shard as plain values and arrays, and those of all shards together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from attncli.data.part_states import PartState
from attncli.studies.importance.compute import Measured
from attncli.studies.importance.units import Unit


def measured_state(measured: Measured) -> PartState:
    """Return the effects on some texts as a state."""
    return {
        "task": measured.task,
        "units": [[*unit.layer, list(unit.heads), unit.head, unit.group] for unit in measured.units],
        "effects": dict(measured.effects),
        "losses": measured.losses,
        "contributions": measured.contributions,
        "heads": [[*layer, count] for layer, count in measured.heads.items()],
        "zeroed": [[*layer, list(heads)] for layer, heads in measured.zeroed.items()],
    }


def merged_effects(states: Iterable[PartState]) -> Measured:
    """Return the effects on all texts, from the states of their shards in order."""
    parts: list[Any] = list(states)
    first = parts[0]

    def joined(arrays: Sequence[Any]) -> Any:
        return np.concatenate(arrays, axis=-1)

    return Measured(
        task=first["task"],
        units=tuple(
            Unit((kind, layer), tuple(heads), head=head, group=group)
            for kind, layer, heads, head, group in first["units"]
        ),
        effects={name: joined([part["effects"][name] for part in parts]) for name in first["effects"]},
        losses=joined([part["losses"] for part in parts]),
        contributions=joined([part["contributions"] for part in parts]),
        heads={(kind, layer): count for kind, layer, count in first["heads"]},
        zeroed={(kind, layer): heads for kind, layer, heads in first["zeroed"]},
    )
