"""Differences between two models, texts or runs, head by head."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from attncli.data.described import Tabulated, counted
from attncli.data.results import Scores, columns_of, frame_of
from attncli.data.tokens import Array

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False, repr=False)
class Comparison(Tabulated):
    """Differences between A and B.

    heads     `js_distance` with `js_low` and `js_high`, and `nearest_distance` as its baseline, with dim `head` (coords
              kind, layer, head, texts), √nat: distance of a head's map in B to its map in A, and of the nearest other
              head of its layer in A. Of norms also `norm_distance`: Σ |b - a| / Σ a, over all norms of a head
    measures  `a`, `b`, `change`, `change_low`, `change_high`, `p`, `p_adjusted` and `effect` with dim `row` (coords
              kind, layer, head, metric, texts): means over texts; the effect is the change divided by the standard
              deviation of the measure over all heads of its kind, of A and of B. Positions are categories: a and b are
              the most frequent values, `changed` is the share of the texts in which they differ, and there is no change
    weights   columns kind, layer, head, matrix, norm and change of W_Q, W_K, W_V and W_O of two models, the largest
              change first; empty for saved runs, combined heads and one model
    units     units of the measures
    notes     what a reader should know
    examples  columns of the texts of a corpus that differ most, chosen by size; empty for texts that are read at once
    lengths   `mean_tokens` and `std_tokens` of the corpora `a` and `b`
    pages     pages that show these texts, by file name
    Of two corpora, `heads` has `text_effect` alone: the largest of the measures of each head. Of corpora, measures have
    `text_effect` too, the change divided by the standard deviation over texts; of two corpora also `change_alike` with
    `alike_low` and `alike_high`, the change between texts of similar length, and coords texts_a and texts_b.
    Intervals and p-values are NaN for fewer than 6 texts, like everything that is undefined.
    """

    heads: Mapping[str, Scores]
    measures: Mapping[str, Scores]
    units: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    weights: Mapping[str, Array] = field(default_factory=dict)
    examples: Mapping[str, Array] = field(default_factory=dict)
    lengths: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    pages: Mapping[str, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Scores:
        return self.heads[name] if name in self.heads else self.measures[name]

    def table(self) -> dict[str, Array]:
        """Return the heads, largest distance first."""
        names = ("norm_distance", "js_distance", "text_effect")
        return _by(columns_of(self.heads), next(name for name in names if name in self.heads))

    def measures_table(self) -> dict[str, Array]:
        """Return the measures of all heads, the largest effect first; of corpora the largest text_effect."""
        return _by(columns_of(self.measures), "text_effect" if "text_effect" in self.measures else "effect")

    def to_frame(self) -> pd.DataFrame:
        """Return the heads as a pandas table."""
        return frame_of(self.table())

    def measures_frame(self) -> pd.DataFrame:
        """Return the measures as a pandas table."""
        return frame_of(self.measures_table())

    def _lines(self) -> Iterable[str]:
        scores = next(iter(self.heads.values()))
        names = [name for name in ("texts", "texts_a", "texts_b") if name in scores.coords]
        texts = " and ".join(f"{int(scores.coords[name][1].max(initial=0)):,}" for name in names)
        metrics = len(set(self.measures["change"].coords["metric"][1].tolist()))
        of = f"{counted(len(scores.values), 'head')} over {texts} text{'s' * (texts != '1')}"
        maps = "maps and " * ("js_distance" in self.heads)
        yield f"Comparison of {of}: {maps}{counted(metrics, 'metric')}"
        if self.notes:
            yield f"{counted(len(self.notes), 'note')}: {self.notes[0]}"


def _by(columns: dict[str, Array], name: str) -> dict[str, Array]:
    """Return the rows ordered by a column, largest first, undefined last."""
    order = np.argsort(-np.nan_to_num(np.abs(columns[name]), nan=-1.0), kind="stable")
    return {column: values[order] for column, values in columns.items()}
