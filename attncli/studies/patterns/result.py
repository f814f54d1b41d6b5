"""What heads do: the classes that they bear, the numbers behind each verdict, and what else could explain them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from attncli.data.results import Scores, baseline_table, columns_of, frame_of
from attncli.data.tokens import Array, Kind

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
"""The classes of heads, and the number that says most of each."""
CLASSES = tuple(CLASS_NUMBERS)
BASELINES = ("uniform", "positional", "shuffled")
NUMBERS = (
    *("sink", "sink_position", "diagonal", "diagonal_offset"),
    *("local_mass", "entropy_normalized", "segment_mass"),
)


@dataclass(frozen=True)
class Thresholds:
    """From where on a head bears a class.

    vertical  least `sink`          diagonal  least `diagonal`, at offsets of at most `reach` tokens
    local     least `local_mass`    sparse    below this `entropy_normalized`
    uniform   above this `entropy_normalized`
    block     least `segment_mass` beyond what uniform attention has of it
    """

    vertical: float = 0.3
    diagonal: float = 0.3
    reach: int = 1
    local: float = 0.5
    sparse: float = 0.3
    uniform: float = 0.95
    block: float = 0.3


@dataclass(frozen=True, eq=False)
class Patterns:
    """What does each head do, by which numbers, and what would even or positional attention give?

    heads       sink, sink_position, diagonal, diagonal_offset, local_mass, entropy_normalized and segment_mass with dim
                `head` (coords kind, layer, head, texts, queries): mean over texts
    std         the same: population standard deviation over texts (empty with one text)
    verdicts    of each head in that order its classes, the clearest first, and how clearly it bears them: from 0, just
                beyond the threshold, to 1, as far as can be; none where nothing is defined
    baselines   the same numbers under `uniform` weights over the keys that each row may see; under `positional` ones,
                the head's own mean weight at each offset; on `shuffled` tokens, if a model was there
    layers      `differentiation` with dim `layer` (coords kind, layer, heads): the mean distance between the heads of a
                layer; the same under `positional` weights and on `shuffled` tokens
    distances   [head, head] of each kind and layer, heads in order: the square root of the mean Jensen-Shannon
                divergence of their rows
    NaN where undefined.
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
        """Those of each head, the clearest first."""
        return tuple(map(tuple, self.verdicts))

    def clearest(self, kind: Kind) -> dict[str, int]:
        """For each class that occurs in a kind, the row of the head that bears it most clearly."""
        best: dict[str, int] = {}
        for name in CLASSES:
            rows = [row for row, (of, _, _) in enumerate(self.places()) if of == kind and name in self.verdicts[row]]
            if rows:
                best[name] = max(rows, key=lambda row: self.verdicts[row][name])
        return best

    def table(self) -> dict[str, Array]:
        """A row per head: kind, layer, head, texts, queries, classes, each number with its std and its baselines."""
        classes = np.array([" ".join(classes) for classes in self.classes] + [None], dtype=object)[:-1]
        return baseline_table(self.heads, self.std, self.baselines, {"classes": classes})

    def layers_table(self) -> dict[str, Array]:
        """A row per layer: kind, layer, heads, differentiation and its baselines."""
        return columns_of(self.layers)

    def places(self) -> Iterator[tuple[Kind, int, int]]:
        """Kind, layer and head of each row."""
        coords = self.heads["sink"].coords
        return zip(*(coords[name][1].tolist() for name in ("kind", "layer", "head")), strict=True)

    def to_frame(self) -> pd.DataFrame:
        """The table as a pandas one."""
        return frame_of(self.table())

    def layers_frame(self) -> pd.DataFrame:
        """The layers' table as a pandas one."""
        return frame_of(self.layers_table())
