"""What blocked attention does to one prediction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from attncli.arguments import checks_arguments
from attncli.data.described import Tabulated, counted
from attncli.data.labels import escape_invisible
from attncli.data.results import frame_of
from attncli.data.tokens import Array, Kind
from attncli.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    import pandas as pd

NO_EFFECT = 1e-3
"""Largest change of a probability that counts as none."""


@checks_arguments
@dataclass(frozen=True, eq=False, repr=False)
class Knockout(Tabulated):
    """The change of one prediction when attention to each token or segment is blocked.

    explained     what was asked for, such as next or word:Paris
    prediction    the token, text or label that it is
    probability   its probability without blocked attention, of several tokens that of all; of a number, the number
    unit          what is blocked together: token, word or segment
    query         by kind, the positions of the rows from which attention is blocked
    keys          a row per unit, blocked in all layers, as columns; see `table`
    layers        a row per window of layers and unit, as columns; see `layers_table`
    window        number of layers that are blocked together
    correlation   by kind, Spearman's correlation of attention and drop over the units; NaN for fewer than 5
    score         probability, or number: a similarity, or what a model predicts that has no classes
    """

    explained: str
    prediction: str
    probability: float
    unit: str
    query: Mapping[Kind, tuple[int, ...]]
    keys: Mapping[str, Array]
    layers: Mapping[str, Array]
    window: Mapping[Kind, int]
    correlation: Mapping[Kind, float]
    score: str = "probability"

    @property
    def effect(self) -> str:
        """The column of `table` by which units are ranked: ln_change, of a number change."""
        return "change" if self.score == "number" else "ln_change"

    @property
    def score_name(self) -> str:
        """What is explained, such as `p(Rome)`, or the name of a number."""
        name = escape_invisible(self.prediction)
        return name if self.score == "number" else f"p({name})"

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The kinds of attention, in the order of the table."""
        return tuple(dict.fromkeys(self.keys["kind"].tolist()))

    def of_kind(self, kind: Kind) -> dict[str, Array]:
        """Return the rows of `table` of one kind."""
        rows = self._rows(self.keys, kind)
        return {name: column[rows] for name, column in self.keys.items()}

    @staticmethod
    def _rows(table: Mapping[str, Array], kind: Kind) -> Array:
        """Return which rows of a table are of a kind; raise UsageError if none is."""
        rows: Array = table["kind"] == kind
        if not rows.any():
            kinds = dict.fromkeys(table["kind"].tolist())
            raise UsageError(f"no attention of kind '{kind}' was blocked: {did_you_mean(str(kind), kinds)}")
        return rows

    def grid(self, kind: Kind, column: str = "change") -> tuple[list[int], Array]:
        """Return the layers, and a column of `layers_table` as [layer, unit] for the units in the order of the text."""
        if column not in self.layers:
            raise UsageError(f"unknown column '{column}': {did_you_mean(column, self.layers)}")
        rows = self._rows(self.layers, kind)
        layers = list(dict.fromkeys(self.layers["layer"][rows].tolist()))
        return layers, self.layers[column][rows].reshape(len(layers), -1)

    def most_in(self, kind: Kind) -> list[tuple[int, int]]:
        """Return for each unit the first and the last layer of the window whose block lowers the prediction most."""
        layers, changes = self.grid(kind, self.effect)
        rows = self.layers["kind"] == kind
        ends = [self.layers[name][rows].reshape(len(layers), -1)[:, 0] for name in ("first_layer", "last_layer")]
        return [(int(ends[0][layer]), int(ends[1][layer])) for layer in changes.argmin(0)]

    def without_effect(self, kind: Kind) -> int:
        """Return how many units change the score by at most `NO_EFFECT` when they are blocked in all layers."""
        return int((np.abs(self.of_kind(kind)["change"]) <= NO_EFFECT).sum())

    def table(self) -> dict[str, Array]:
        """Return a row per token, word or segment, blocked in all layers, in the order of the text.

        Columns: kind, key (its first position), name, tokens, attention (mean over heads and layers of the weight that
        the rows give it), probability, change and ln_change (of the probability and of its logarithm), rank (1 for the
        largest drop), predicted (what the model predicts instead), and for segments random_ln_change (the mean when as
        many random keys are blocked). Of a number: number, change, and for segments random_change.
        """
        return dict(self.keys)

    def layers_table(self) -> dict[str, Array]:
        """Return a row per window of layers and token, word or segment.

        Columns: kind, layer (in the middle of the window), first_layer, last_layer, then as in `table`.
        """
        return dict(self.layers)

    def to_frame(self) -> pd.DataFrame:
        """Return `table` as a pandas table."""
        return frame_of(self.table())

    def layers_frame(self) -> pd.DataFrame:
        """Return `layers_table` as a pandas table."""
        return frame_of(self.layers_table())

    def about(self) -> dict[str, Any]:
        """Return what was explained as plain values, for the document."""
        explained = {"explain": self.explained, "prediction": self.prediction, self.score: self.probability}
        return explained if self.score == "number" else {**explained, "ln_probability": float(np.log(self.probability))}

    def _lines(self) -> Iterable[str]:
        yield f"Knockout of {self.prediction!r} ({self.explained}), {self.score} {self.probability:.3g}"
        for kind in self.kinds:
            of_kind = self.of_kind(kind)
            first = int(np.argmin(of_kind[self.effect]))
            units = counted(len(of_kind["name"]), self.unit)
            yield f"{kind}: {units}; most needed: {of_kind['name'][first]!r}, {of_kind['change'][first]:+.3f}"
