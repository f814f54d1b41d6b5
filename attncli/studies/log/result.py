"""What the heads of one model show at one step, and a series of such snapshots."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from attncli.arguments import checks_arguments
from attncli.data.described import Tabulated, counted, listed
from attncli.data.results import frame_of
from attncli.data.tokens import Array

if TYPE_CHECKING:
    import pandas as pd

STATES = ("cosine", "rank_one_distance")
"""Numbers of the hidden states after a layer."""
ROWS_TO_MEAN = "rows_to_mean"
RIGIDITY = ("rigidity", "rigidity_held_out", "rigidity_difference")
"""How much of a head is the same in every text; on texts of the training, on others, and the difference."""


@checks_arguments
@dataclass(frozen=True, eq=False, repr=False)
class Snapshot(Tabulated):
    """What the heads of one model show at one step.

    name     the model or its checkpoint
    step     the step of the training; None if it is unknown
    heads    columns of the table of heads: kind, layer, head, texts, queries; each metric, mean over the texts, and
             `<metric>_uniform`, the same of uniform attention; `class`, the strongest class of the head, or None; each
             score of the probe and `<score>_uniform`; rigidity, and with held-out texts all of `rigidity_table`
    layers   columns of the table of layers: kind, layer, heads; the mean over heads of each of these numbers; of scores
             also `<score>_max`; rows_to_mean and rows_to_mean_uniform; cosine and rank_one_distance of the hidden
             states after the layer; and for each class how many heads have it as their strongest, `<class>_heads`
    metrics  names of the metrics
    scores   names of the scores of the probe of repeated tokens; empty if the model was not probed
    notes    what a reader should know, such as texts that are too short for some classes
    Undefined is NaN.
    """

    name: str
    step: int | None
    heads: Mapping[str, Array]
    layers: Mapping[str, Array]
    metrics: tuple[str, ...]
    scores: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def numbers(self) -> tuple[str, ...]:
        """The names of the metrics and of the scores, and rigidity."""
        return (*self.metrics, *self.scores, *(name for name in RIGIDITY if name in self.heads))

    def to_frame(self) -> pd.DataFrame:
        """Return the table of heads as a pandas table."""
        return frame_of(self.heads)

    def layers_frame(self) -> pd.DataFrame:
        """Return the table of layers as a pandas table."""
        return frame_of(self.layers)

    def _lines(self) -> Iterable[str]:
        step = "" if self.step is None else f", step {self.step:,}"
        yield f"Snapshot of {self.name}{step}: {counted(len(self.heads['head']), 'head')}"
        yield listed(self.numbers)
