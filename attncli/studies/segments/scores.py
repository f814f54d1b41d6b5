"""Scores of cells: one row for each kind, layer, head and pair of segments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from attncli.data import Array, Scores

RANGES = {"mass": (0.0, 1.0), "uniform_mass": (0.0, 1.0), "positional_mass": (0.0, 1.0), "ratio": (0.0, None)}
SOURCE = "sums of the weights; uniform: 1/|S_i| on each visible key; positional: the head's mean weight at each offset"


def scores_of(rows: Sequence[tuple[tuple[Any, ...], Array]], names: Sequence[str]) -> dict[str, Scores]:
    """Return scores with dim `row` of cells (kind, layer, head, from, to, texts) and their mass and uniform mass."""
    columns = ("kind", "layer", "head", "from", "to", "texts")
    coords = {name: ("row", column_of([cell[number] for cell, _ in rows])) for number, name in enumerate(columns)}
    both = np.array([values for _, values in rows]).reshape(-1, 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(both[:, 1] > 0, both[:, 0] / both[:, 1], np.nan)
    values = dict(zip(("mass", "uniform_mass", "ratio"), (both[:, 0], both[:, 1], ratio), strict=True))
    return {name: score_of(name, values[name], coords) for name in names}


def score_of(name: str, values: Array, coords: Mapping[str, tuple[str, Array]]) -> Scores:
    """Return one score with dim `row`."""
    return Scores(name, values, ("row",), coords, "1", RANGES[name], SOURCE)


def column_of(entries: Sequence[Any]) -> Array:
    """Return numbers as integers, everything else as objects."""
    if entries and not isinstance(entries[0], str):
        return np.array(entries, dtype=np.int64)
    column: Array = np.empty(len(entries), dtype=object)
    column[:] = entries
    return column
