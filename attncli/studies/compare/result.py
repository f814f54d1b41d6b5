"""How two models, two texts or two runs differ, head by head."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from attncli.data.results import Scores, columns_of, frame_of
from attncli.data.tokens import Array

if TYPE_CHECKING:
    import pandas as pd

FEWEST = 6
"""Texts from which on there are intervals and tests: of fewer, no paired test could tell a change at 5 %."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """What is different between A and B?

    heads     `js_distance` with `js_low` and `js_high`, and `nearest_distance` as its baseline, with dim `head` (coords
              kind, layer, head, texts): how far the map of a head in B is from that in A, and how far the nearest other
              head of its layer in A is from it
    measures  `a`, `b`, `change`, `change_low`, `change_high`, `p`, `p_adjusted` and `effect` with dim `row` (coords
              kind, layer, head, metric, texts): each measure in A and in B, the mean over texts; the effect is the
              change in shares of the standard deviation of the measure over all heads of its kind, of A and of B
    units     of the measures
    notes     what a user should know
    Intervals and p-values are NaN for fewer than 6 texts; all is NaN where it is undefined.
    """

    heads: Mapping[str, Scores]
    measures: Mapping[str, Scores]
    units: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Scores:
        return self.heads[name] if name in self.heads else self.measures[name]

    def table(self) -> dict[str, Array]:
        """The heads, those that differ most first."""
        return _by(columns_of(self.heads), "js_distance")

    def measures_table(self) -> dict[str, Array]:
        """The measures of all heads, the largest change first, each in shares of how much heads differ in it."""
        return _by(columns_of(self.measures), "effect")

    def to_frame(self) -> pd.DataFrame:
        """The heads as a pandas table."""
        return frame_of(self.table())

    def measures_frame(self) -> pd.DataFrame:
        """The measures as a pandas table."""
        return frame_of(self.measures_table())


def _by(columns: dict[str, Array], name: str) -> dict[str, Array]:
    """The same rows, the largest first, undefined ones last."""
    order = np.argsort(-np.nan_to_num(np.abs(columns[name]), nan=-1.0), kind="stable")
    return {column: values[order] for column, values in columns.items()}
