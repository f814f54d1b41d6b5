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
    *("sink", "sink_position", "sink_rows", "diagonal", "diagonal_offset"),
    *("local_mass", "entropy_normalized", "special_mass", "segment_mass"),
)

HeadKey = tuple[Kind, int, int]
"""Kind, layer and head."""


@checks_arguments
@dataclass(frozen=True, eq=False, repr=False)
class Patterns(Tabulated):
    """Classes of every head with the numbers behind them, and the distances between the heads of each layer.

    heads       sink, sink_position, sink_rows (share of the rows that see this key), diagonal, diagonal_offset,
                local_mass, entropy_normalized, special_mass and segment_mass with dim `head` (coords kind, layer, head,
                texts, queries), averaged over texts; of positions and offsets the most frequent one
    std         population standard deviation of the same over texts; empty for one text
    share       share of the texts with this sink_position or diagonal_offset; empty for one text
    sink_keys   name of the key of `sink` by kind, layer and head ([CLS], first token, full stop, …), and the share of
                the texts with it
    verdicts    the classes of each head, strongest first, with their strength: from 0, just beyond the threshold, to 1,
                the largest possible value; empty if the numbers are undefined or the texts are too short for all
                classes
    too_short   the classes for which the texts are too short
    without_special  the classes of each head if special tokens are left out and pieces merged into words; empty if
                there are no special tokens
    baselines   the same numbers for `uniform` weights over the visible keys; for `positional` weights, the head's own
                mean weight at each offset in the other texts, undefined for one text; and on `shuffled` tokens, if
                there was a model
    layers      `differentiation` with dim `layer` (coords kind, layer, heads): mean distance between the heads of a
                layer; the same for `positional` weights and on `shuffled` tokens; `rigidity`, mean over the heads
    rigidity    how much of the map of each head position explains, as the other texts show; undefined for one text;
                `rigidity_std` is the standard deviation over texts, None for one text
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
    share: Mapping[str, Scores] = field(default_factory=dict)
    sink_keys: Mapping[HeadKey, tuple[str, float]] = field(default_factory=dict)
    too_short: tuple[str, ...] = ()
    without_special: tuple[tuple[str, ...], ...] = ()
    rigidity: Scores | None = None
    rigidity_std: Scores | None = None

    @property
    def classes(self) -> tuple[tuple[str, ...], ...]:
        """The classes of each head, strongest first."""
        return tuple(map(tuple, self.verdicts))

    @property
    def is_of_one_text(self) -> bool:
        return int(self.heads["sink"].coords["texts"][1].max(initial=0)) < 2

    def defined_baselines(self) -> dict[str, Mapping[str, Scores]]:
        """Return the baselines that have any number."""
        return {
            name: table
            for name, table in self.baselines.items()
            if not np.isnan(table["entropy_normalized"].values).all()
        }

    def strongest(self, kind: Kind) -> dict[str, int]:
        """Return the row of the strongest head of each class that occurs in a kind."""
        return {name: rows[0] for name in CLASSES if (rows := self.ranked(kind, name))}

    def ranked(self, kind: Kind, name: str) -> list[int]:
        """Return the rows of the heads of a kind that belong to a class, the strongest first."""
        rows = [row for row, key in enumerate(self.head_keys()) if key[0] == kind and name in self.verdicts[row]]
        return sorted(rows, key=lambda row: -self.verdicts[row][name])

    def table(self) -> dict[str, Array]:
        """Return a row per head: coordinates, classes, the key of sink, each number with its std and its baselines.

        Rigidity comes last.
        """
        columns = {"classes": np.array([" ".join(classes) for classes in self.classes], dtype=object)}
        keys = [self.sink_keys.get(key, ("", np.nan)) for key in self.head_keys()]
        columns["sink_key"] = np.array([name for name, _ in keys] + [None], dtype=object)[:-1]
        if self.share:
            columns["sink_key_share"] = np.array([share for _, share in keys])
        table = baseline_table(self.heads, self.std, self.baselines, columns, self.share)
        rigidity = {"rigidity": self.rigidity, "rigidity_std": self.rigidity_std}
        return table | {name: scores.values for name, scores in rigidity.items() if scores is not None}

    def layers_table(self) -> dict[str, Array]:
        """Return a row per layer: kind, layer, heads, differentiation and its baselines, rigidity."""
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
