"""The effect of removing each head, with intervals, statistics of its attention, and what these predict."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from attncli.arguments import checks_arguments
from attncli.data.described import Tabulated, counted
from attncli.data.results import Scores, Statistics, frame_of
from attncli.data.tokens import Array
from attncli.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    import pandas as pd

UNITS: Mapping[str, str] = {
    "loss": "nat/token",
    "kl": "nat/token",
    "probability": "1",
    "changed": "1",
    "cosine_distance": "1",
    "gradient": "nat",
    "contribution": "1",
}
QUESTIONS: Mapping[str, str] = {
    "loss": "How much more does the model lose on each token that it predicts, without the head?",
    "kl": "How far is the predicted distribution without the head from the one with it (KL divergence)?",
    "probability": "How does the probability of the class that the model predicts change without the head?",
    "changed": "Which share of the predicted classes is another one without the head?",
    "cosine_distance": "How far do the last hidden states turn without the head, as 1 - cosine?",
    "gradient": "How much would the loss change per unit of a factor on the output of the head, up or down?",
    "contribution": "Which share of what the heads of its layer write does the head write?",
}
RANGES: Mapping[str, tuple[float | None, float | None]] = {
    "loss": (None, None),
    "kl": (0.0, None),
    "probability": (-1.0, 1.0),
    "changed": (0.0, 1.0),
    "cosine_distance": (0.0, 2.0),
    "gradient": (0.0, None),
    "contribution": (0.0, 1.0),
}
SIGNED = ("loss", "probability")
"""Measures that can be negative: only of these does an interval say whether there is an effect."""
NO_EFFECT = 1e-3
"""An effect below it (in nats per token, or as a distance or share) is no effect, for dead heads."""
ROUNDING = 1e-6
"""Effects up to it are rounding errors."""


@checks_arguments
@dataclass(frozen=True, eq=False, repr=False)
class Importance(Tabulated):
    """The effects of all heads (or groups, or layers), the largest first.

    model_task  causal-lm, masked-lm, seq2seq-lm, classification or base (a model without a head)
    method      zero, mean or gradient: how heads were removed
    unit        head, group or layer: which heads were removed together
    measures    the measured effects, the main one first
    columns     a row per head: kind, layer, head (null for several heads), group, texts, then each measure with its
                interval, contribution, p, p_adjusted, measurable, dead, and the statistics of attention
    predictors  a row per statistic of attention: rho (Spearman, with the main effect), low, high, heads
    loss        mean loss of the unedited model over texts, in nats; NaN if it has none
    texts       number of texts
    """

    model_task: str
    method: str
    unit: str
    measures: tuple[str, ...]
    columns: Mapping[str, Array]
    predictors: Mapping[str, Array]
    loss: float
    texts: int

    @property
    def main(self) -> str:
        """The measure by which heads are ranked."""
        return self.measures[0]

    @property
    def names(self) -> list[str]:
        """How tables name the rows: 3.1, 3.4-7 (heads that share keys) or layer 3."""
        kinds = set(self.columns["kind"].tolist())
        names = self.columns["name"].tolist()
        return [
            f"{kind} {name}" if len(kinds) > 1 else name for kind, name in zip(self.columns["kind"], names, strict=True)
        ]

    @property
    def dead(self) -> list[tuple[str, str]]:
        """The heads that contribute little and have no effect, each with the reason."""
        return [(name, reason) for name, reason in zip(self.names, self.columns["dead"], strict=True) if reason]

    @property
    def advice(self) -> str:
        """How many heads have an effect that can be measured, and what the numbers describe."""
        count = len(self.columns["kind"])
        what = counted(count, self.unit) + (" of heads" if self.unit == "group" else "")
        if self.texts == 1:
            return f"{what}; this describes one text: give 6 or more for intervals"
        if self.main not in SIGNED:
            return f"{what}, mean over {self.texts} texts"
        measurable = self.columns["measurable"]
        if not any(value is not None for value in measurable):
            return f"{what}, mean over {self.texts} texts: give 6 or more for intervals"
        none = sum(value is False for value in measurable)
        return f"{none} of {what} have no measurable effect: the interval over {self.texts} texts holds 0"

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader should know: how the output is measured where that is not obvious."""
        if self.model_task == "base":
            return ("without a model head, effects are 1 - cosine of the last hidden states (see --model-head)",)
        if self.model_task == "masked-lm":
            return ("15 % of the ordinary tokens are masked; the loss is that of predicting them (--seed)",)
        return ()

    def table(self) -> dict[str, Array]:
        """Return a row per head as columns, the largest effect first; `name` is left out."""
        return {name: column for name, column in self.columns.items() if name != "name"}

    def scores(self, measure: str) -> Scores:
        """Return one measure, or its contribution, for each head, for a picture; UsageError for another name."""
        if measure not in UNITS or measure not in self.columns:
            known = [name for name in UNITS if name in self.columns]
            raise UsageError(f"unknown measure '{measure}': {did_you_mean(measure, known)}")
        coords = {name: ("head", self.columns[name]) for name in ("kind", "layer")}
        coords["head"] = ("head", np.array([_place(self.columns, row) for row in range(len(self.columns["kind"]))]))
        return Scores(measure, self.columns[measure], ("head",), coords, UNITS[measure], RANGES[measure], "")

    def statistics(self) -> Statistics:
        """Return all measures as statistics, for a picture."""
        return Statistics({name: self.scores(name) for name in (*self.measures, "contribution")})

    def to_frame(self) -> pd.DataFrame:
        """Return a row per head as a pandas table."""
        return frame_of(self.table())

    def _lines(self) -> Iterable[str]:
        names = self.names
        yield f"Importance of {counted(len(names), self.unit)} by {self.method}: {self.main} ({UNITS[self.main]})"
        best = ", ".join(f"{name} {value:.3f}" for name, value in zip(names[:3], self.columns[self.main], strict=False))
        yield f"largest: {best}; {self.advice}"


def _place(columns: Mapping[str, Array], row: int) -> int:
    """Return the column of a row in a picture of layers x heads."""
    for name in ("head", "group"):
        if name in columns and columns[name][row] is not None:
            return int(columns[name][row])
    return 0


def label_of(measure: str) -> str:
    """Return the name of a measure for people.

    >>> label_of("loss"), label_of("kl")
    ('change of loss', 'KL divergence')
    """
    names = {"loss": "change of loss", "kl": "KL divergence", "probability": "change of probability"}
    return names.get(measure, measure.replace("_", " "))


def label_with_unit(measure: str) -> str:
    """Return the name of a measure for people, with its unit unless it is a plain number.

    >>> label_with_unit("loss"), label_with_unit("cosine_distance")
    ('change of loss (nat/token)', 'cosine distance')
    """
    unit = UNITS[measure]
    return label_of(measure) if unit == "1" else f"{label_of(measure)} ({unit})"


def declared(measures: Iterable[str]) -> dict[str, Any]:
    """Return unit, range and question of measures, as documents state them."""
    return {
        name: {"unit": UNITS[name], "range": list(RANGES[name]), "question": QUESTIONS[name]}
        for name in (*measures, "contribution")
    }
