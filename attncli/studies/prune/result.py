"""The heads in the order of their removal, and the curve of the output against the share that is removed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from attncli.arguments import checks_arguments
from attncli.data.described import Tabulated, counted
from attncli.data.results import frame_of
from attncli.data.tokens import Array
from attncli.studies.importance.result import UNITS, label_of

if TYPE_CHECKING:
    import pandas as pd

_LARGEST_SHARE = 10.0
"""Changes that are more than this part of the loss are given without it: the loss is nearly 0."""


@checks_arguments
@dataclass(frozen=True, eq=False, repr=False)
class Pruning(Tabulated):
    """The effect of removing many heads at once.

    model_task   causal-lm, masked-lm, seq2seq-lm, classification or base (a model without a head)
    unit         head or group: what is removed at once
    measures     the measured effects, the main one first, as in `attncli.Importance`
    heads        a row per head (or group), the first that is removed first: rank, kind, layer, head, group, importance
                 (the effect by which it was ranked, see `ranked_by`) and removed (whether it is removed at the stop)
    curve        a row per order and number of removed heads: order (importance, reverse or random), seed (of a random
                 order), heads, share, and the mean effect of each measure over the texts of the curve, from 6 texts on
                 with the ends of its interval, such as loss_low and loss_high
    removed      number of removed heads; None if no stop was given
    loss         mean loss of the unedited model on the texts of the curve, in nats; NaN if it has none
    rank_texts   number of texts that ranked heads; 0 if a file did
    curve_texts  number of texts of the curve
    saved        what was saved; empty if nothing was
    notes        what a reader should know
    method       zero, mean or gradient: how a head was removed while it was ranked
    """

    model_task: str
    unit: str
    measures: tuple[str, ...]
    heads: Mapping[str, Array]
    curve: Mapping[str, Array]
    removed: int | None
    loss: float
    rank_texts: int
    curve_texts: int
    saved: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    method: str = "zero"

    @property
    def main(self) -> str:
        """The measure by which heads are ranked."""
        return self.measures[0]

    @property
    def names(self) -> list[str]:
        """How tables name the heads, the first that is removed first: 3.1, or 3.4-7 for heads that share keys."""
        names, kinds = self.heads["name"].tolist(), self.heads["kind"].tolist()
        many = len(set(kinds)) > 1
        return [f"{kind} {name}" if many else name for kind, name in zip(kinds, names, strict=True)]

    def at(self, order: str, count: int) -> Array:
        """Return the main effect without the first `count` heads of an order, a number for each order of that name."""
        rows = (self.curve["order"] == order) & (self.curve["heads"] == count)
        values: Array = self.curve[self.main][rows]
        return values

    @property
    def advice(self) -> str:
        """What the removal costs, beside random removals of as many heads."""
        count, total = self.removed, len(self.heads["kind"])
        what = counted(total, self.unit) + (" of heads" if self.unit == "group" else "")
        texts = f"on {counted(self.curve_texts, 'text')}"
        if count is None:
            return f"{what}, {texts}: stop with --heads, --share or --until-loss"
        effect = float(self.at("importance", count)[0])
        random = self.at("random", count)
        low, high = self._change(float(random.min())), self._change(float(random.max()))
        losses = loss_of(self.main, np.array([effect])), loss_of(self.main, random)
        poor = "; the order is no better than random ones here" if losses[0] >= np.median(losses[1]) else ""
        return (
            f"{count} of {what} removed: {label_of(self.main)} {self._change(effect)} {texts}; "
            f"random heads: {low} to {high}{poor}"
        )

    def _change(self, effect: float) -> str:
        """Return an effect with its sign, and its share of the loss if that is of a similar size."""
        share = effect / self.loss if self.main == "loss" else math.inf
        return f"{effect:+.3f} ({share:+.1%})" if abs(share) < _LARGEST_SHARE else f"{effect:+.3f}"

    def table(self) -> dict[str, Array]:
        """Return the heads as columns, the first that is removed first."""
        return {name: column for name, column in self.heads.items() if name != "name"}

    def to_frame(self) -> pd.DataFrame:
        """Return the curve as a pandas table."""
        return frame_of(self.curve)

    def _lines(self) -> Iterable[str]:
        first = ", ".join(self.names[:5])
        yield f"Pruning of {counted(len(self.names), self.unit)}: {self.main} ({UNITS[self.main]}), first {first}"
        yield self.advice


def ranked_by(measures: Sequence[str]) -> str:
    """Return the measure that orders heads: KL divergence where it is measured.

    A head without which the loss falls changes the output as well. Ranked by the loss, such heads would go first.

    >>> ranked_by(["loss", "kl"]), ranked_by(["gradient"])
    ('kl', 'gradient')
    """
    return "kl" if "kl" in measures else measures[0]


def loss_of(main: str, values: Array) -> Array:
    """Return how much is lost: a classifier loses probability, all other measures grow."""
    return -values if main == "probability" else values


def number_or_none(value: float) -> float | None:
    """Return a number as JSON has it: null if it is not defined."""
    return None if math.isnan(value) else float(value)
