"""What is blocked: the keys of each kind of attention one by one, as tokens, words or segments."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from attncli.data import Array, Kind
from attncli.engine.text_units import TextUnit


@dataclass(frozen=True, eq=False)
class BlockedRows:
    """One kind of attention of the text: the rows from which attention is blocked, and the keys to which.

    rows    positions of the rows
    units   the units that a row can see
    random  for each unit, sets of as many random keys; empty for units of single tokens
    """

    kind: Kind
    rows: Array
    units: tuple[TextUnit, ...]
    random: tuple[tuple[tuple[int, ...], ...], ...] = ()


def visible_units(units: Iterable[TextUnit], visible: Array, special: Array, drop: bool) -> tuple[TextUnit, ...]:
    """Return the units with the keys that a row can see; without special tokens if `drop`."""
    kept = []
    for unit in units:
        positions = tuple(position for position in unit.positions if visible[position])
        if positions and not (drop and special[list(positions)].all()):
            kept.append(TextUnit(unit.name, unit.label, positions))
    return tuple(kept)


def random_keys(
    units: Sequence[TextUnit], visible: Array, special: Array, draws: int
) -> tuple[tuple[tuple[int, ...], ...], ...]:
    """Return for each unit `draws` sets of as many keys, drawn without special tokens; the seeds are 0, 1 and so on.

    A unit with as many keys as there are to draw from has none: there is only one such set.
    """
    keys = np.flatnonzero(visible & ~special)
    sets = []
    for unit in units:
        count = len(unit.positions)
        seeds = range(draws) if count < len(keys) else ()
        drawn = (np.random.default_rng(seed).choice(keys, count, replace=False) for seed in seeds)
        sets.append(tuple(tuple(sorted(of_seed.tolist())) for of_seed in drawn))
    return tuple(sets)
