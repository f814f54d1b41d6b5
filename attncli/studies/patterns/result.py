"""Classes of heads, the numbers behind them, and the baselines of these numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from attncli.arguments import checks_arguments
from attncli.data.described import Tabulated, counted, listed
from attncli.data.results import Scores, baseline_table, columns_of, frame_of
from attncli.data.tokens import Array, Kind
from attncli.studies.patterns.options import Thresholds

if TYPE_CHECKING:
    import pandas as pd

CLASS_NUMBERS = {
    "vertical": "sink",
    "diagonal": "diagonal",
    "local": "local_mass",
    "block": "segment_mass",
    "sparse": "entropy_normalized",
    "uniform": "entropy_normalized",
    "mixed": "entropy_normalized",
}
"""The classes of heads, each with its main number."""
CLASSES = tuple(CLASS_NUMBERS)
BASELINES = ("uniform", "positional", "shuffled")
NUMBERS = (
    *("sink", "sink_position", "diagonal", "diagonal_offset"),
    *("local_mass", "entropy_normalized", "segment_mass"),
)

HeadKey = tuple[Kind, int, int]


@checks_arguments
@dataclass(frozen=True, eq=False, repr=False)
class Patterns(Tabulated):
    """Classes of every head with the numbers behind them, and the distances between the heads of each layer.

    heads       sink, sink_position, diagonal, diagonal_offset, local_mass, entropy_normalized and segment_mass with dim
                `head` (coords kind, layer, head, texts, queries), averaged over texts
    std         population standard deviation of the same over texts; empty for one text
    verdicts    the classes of each head, strongest first, with their strength: from 0, just beyond the threshold, to 1,
                the largest possible value; empty if the numbers are undefined
    baselines   the same numbers for `uniform` weights over the visible keys; for `positional` weights, the head's own
                mean weight at each offset; and on `shuffled` tokens, if there was a model
    layers      `differentiation` with dim `layer` (coords kind, layer, heads): mean distance between the heads of a
                layer; the same for `positional` weights and on `shuffled` tokens
    distances   [head, head] by kind and layer: √ of the mean Jensen-Shannon divergence of their rows, √nat
    Undefined is NaN.
    """

    heads: Mapping[str, Scores]
    verdicts: tuple[Mapping[str, float], ...]
    baselines: Mapping[str, Mapping[str, Scores]]
    layers: Mapping[str, Scores]
    distances: Mapping[tuple[Kind, int], Array]
    thresholds: Thresholds
    std: Mapping[str, Scores] = field(default_factory=dict)

    @property
    def classes(self) -> tuple[tuple[str, ...], ...]:
        """The classes of each head, strongest first."""
        return tuple(map(tuple, self.verdicts))

    def strongest(self, kind: Kind) -> dict[str, int]:
        """Return the row of the strongest head of each class that occurs in a kind."""
        return {name: rows[0] for name in CLASSES if (rows := self.ranked(kind, name))}

    def ranked(self, kind: Kind, name: str) -> list[int]:
        """Return the rows of the heads of a kind that belong to a class, the strongest first."""
        rows = [row for row, key in enumerate(self.head_keys()) if key[0] == kind and name in self.verdicts[row]]
        return sorted(rows, key=lambda row: -self.verdicts[row][name])

    def table(self) -> dict[str, Array]:
        """Return a row per head: coordinates, classes, each number with its std and its baselines."""
        classes = np.array([" ".join(classes) for classes in self.classes], dtype=object)
        return baseline_table(self.heads, self.std, self.baselines, {"classes": classes})

    def layers_table(self) -> dict[str, Array]:
        """Return a row per layer: kind, layer, heads, differentiation and its baselines."""
        return columns_of(self.layers)

    def head_keys(self) -> list[HeadKey]:
        """Return kind, layer and head of each row."""
        return head_keys(self.heads["sink"])

    def to_frame(self) -> pd.DataFrame:
        """Return the table of heads as a pandas table."""
        return frame_of(self.table())

    def layers_frame(self) -> pd.DataFrame:
        """Return the table of layers as a pandas table."""
        return frame_of(self.layers_table())

    def _lines(self) -> Iterable[str]:
        counts = Counter(name for names in self.classes for name in names)
        classes = listed(f"{name} {count}" for name, count in counts.most_common())
        yield f"Patterns of {counted(len(self.verdicts), 'head')}: {classes or 'no class'}"
        if sum(counts.values()) > len(self.verdicts):
            yield "a head may have several classes"


def head_keys(scores: Scores) -> list[HeadKey]:
    """Return kind, layer and head of each entry."""
    return list(zip(*(scores.coords[name][1].tolist() for name in ("kind", "layer", "head")), strict=True))
