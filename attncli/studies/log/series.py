"""Snapshots of a series of checkpoints, and where their numbers change most."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from attncli.arguments import checks_arguments
from attncli.data.described import Tabulated, counted, listed
from attncli.data.results import frame_of
from attncli.data.tokens import Array, Text
from attncli.engine.checkpoints import Checkpoint, joined_tables, step_column
from attncli.errors import ModelError, UsageError, did_you_mean
from attncli.studies.log.result import RIGIDITY, ROWS_TO_MEAN, STATES, Snapshot

if TYPE_CHECKING:
    import pandas as pd

LAYER_NUMBERS = (ROWS_TO_MEAN, *STATES)
"""Numbers of layers that their heads do not have."""


@checks_arguments
@dataclass(frozen=True, eq=False, repr=False)
class LogSeries(Tabulated):
    """What the heads of every checkpoint show on the same texts.

    checkpoints  the checkpoints in the order of their steps
    snapshots    what each of them shows; all have the same heads
    """

    checkpoints: Sequence[Checkpoint]
    snapshots: Sequence[Snapshot]

    @property
    def steps(self) -> Array:
        """The steps of the checkpoints as whole numbers; if some have none, NaN for these."""
        return step_column([checkpoint.step for checkpoint in self.checkpoints])

    @property
    def has_steps(self) -> bool:
        """Whether each checkpoint has a step of its own."""
        return bool(np.isfinite(self.steps).all()) and len(set(self.steps.tolist())) == len(self.steps)

    @property
    def names(self) -> list[str]:
        """The names of the checkpoints."""
        return [checkpoint.name for checkpoint in self.checkpoints]

    @property
    def numbers(self) -> tuple[str, ...]:
        """The names of the numbers of heads: scores of the probe, metrics, rigidity."""
        shown = self.snapshots[0]
        return (*reversed(shown.scores), *shown.metrics, *(name for name in RIGIDITY if name in shown.heads))

    @property
    def layer_numbers(self) -> tuple[str, ...]:
        """The names of the numbers that only layers have."""
        return tuple(name for name in LAYER_NUMBERS if name in self.snapshots[0].layers)

    def values(self, name: str, layers: bool = False) -> Array:
        """Return a number of all heads, or of all layers, at every checkpoint: [checkpoint, head].

        name  a column of the table of heads, or of layers; raise UsageError if it has none of this name
        """
        known = [column for column, values in first_table(self, layers).items() if values.dtype.kind in "fi"]
        if name not in known:
            raise UsageError(f"unknown number '{name:.60}': {did_you_mean(name, known)}")
        return np.array([(shown.layers if layers else shown.heads)[name] for shown in self.snapshots])

    def table(self) -> dict[str, Array]:
        """Return a row per checkpoint and head: coordinates, checkpoint, step, and what the snapshot has."""
        return joined_tables(self.checkpoints, [shown.heads for shown in self.snapshots], ("kind", "layer", "head"))

    def layers_table(self) -> dict[str, Array]:
        """Return a row per checkpoint and layer."""
        return joined_tables(self.checkpoints, [shown.layers for shown in self.snapshots], ("kind", "layer"))

    def to_frame(self) -> pd.DataFrame:
        """Return the table of heads as a pandas table."""
        return frame_of(self.table())

    def layers_frame(self) -> pd.DataFrame:
        """Return the table of layers as a pandas table."""
        return frame_of(self.layers_table())

    def _lines(self) -> Iterable[str]:
        heads = counted(len(self.snapshots[0].heads["head"]), "head")
        yield f"LogSeries of {counted(len(self.checkpoints), 'checkpoint')}, {heads}"
        yield listed(self.numbers)


def first_table(series: LogSeries, layers: bool = False) -> Mapping[str, Array]:
    """Return the table of heads, or of layers, of the first checkpoint."""
    return series.snapshots[0].layers if layers else series.snapshots[0].heads


@dataclass(frozen=True)
class Change:
    """The largest change of a number between neighbouring checkpoints, of all heads (or layers) of a kind.

    head            number of the head; None for a number of layers
    before, after   the values at the checkpoints `first` and `second`, which follow each other
    range           largest minus smallest value of this head over all checkpoints
    share_of_steps  the steps between the two checkpoints, as a share of all; of the checkpoints if steps are unknown
    searched        number of heads or layers of which this has the largest change
    abrupt          whether it is half of the range or more, in a quarter of the steps or less, and not tiny
    """

    kind: str
    layer: int
    head: int | None
    number: str
    first: Checkpoint
    second: Checkpoint
    before: float
    after: float
    range: float
    share_of_steps: float
    searched: int
    abrupt: bool

    @property
    def change(self) -> float:
        return self.after - self.before

    @property
    def share_of_range(self) -> float:
        return abs(self.change) / self.range if self.range else float("nan")

    @property
    def name(self) -> str:
        """The head, such as `1.3`, or the layer."""
        return f"layer {self.layer}" if self.head is None else f"{self.layer}.{self.head}"


ABRUPT_RANGE, ABRUPT_STEPS = 0.5, 0.25
"""Least share of the range, and largest share of the steps, of an abrupt change."""
LEAST_CHANGE = 0.1
"""Least size of an abrupt change; of values above 1, least share of the largest."""


def largest_changes(series: LogSeries) -> Iterator[Change]:
    """Yield for each kind and number the largest change between two checkpoints that follow each other."""
    if len(series.checkpoints) < 2:
        return
    shares = _step_shares(series.steps)
    for layers, names in ((False, series.numbers), (True, series.layer_numbers)):
        table = first_table(series, layers)
        for kind in dict.fromkeys(table["kind"].tolist()):
            rows = np.flatnonzero(table["kind"] == kind)
            for name in names:
                values = series.values(name, layers)[:, rows]
                if (found := _largest(values)) is None:
                    continue
                at, column = found
                before, after = values[at : at + 2, column].tolist()
                spread = float(np.nanmax(values[:, column]) - np.nanmin(values[:, column]))
                least = LEAST_CHANGE * max(1.0, float(np.nanmax(np.abs(values[:, column]))))
                size = abs(after - before)
                quick = shares[at] <= ABRUPT_STEPS and size >= max(least, ABRUPT_RANGE * spread) > 0
                layer, head = int(table["layer"][rows[column]]), None if layers else int(table["head"][rows[column]])
                pair = series.checkpoints[at], series.checkpoints[at + 1]
                yield Change(kind, layer, head, name, *pair, before, after, spread, shares[at], len(rows), quick)


def _largest(values: Array) -> tuple[int, int] | None:
    """Return the row and the column of the largest change to the next row; None if no change is defined."""
    changes = np.abs(np.diff(values, axis=0))
    if np.isnan(changes).all():
        return None
    row, column = np.unravel_index(np.nanargmax(changes), changes.shape)
    return int(row), int(column)


def _step_shares(steps: Array) -> list[float]:
    """Return the steps between neighbouring checkpoints as shares of all; equal shares if a step is unknown.

    >>> _step_shares(np.array([0, 10, 40])), _step_shares(np.array([1, 2, np.nan]))
    ([0.25, 0.75], [0.5, 0.5])
    """
    gaps = np.diff(steps.astype(float))
    if not np.isfinite(gaps).all() or not gaps.sum() > 0:
        return [1 / len(gaps)] * len(gaps)
    shares: list[float] = (gaps / gaps.sum()).tolist()
    return shares


def changes_table(changes: Sequence[Change]) -> dict[str, Array]:
    """Return a row per change."""
    words = ("kind", "number", "head")
    columns: dict[str, list[object]] = {
        "kind": [change.kind for change in changes],
        "layer": [change.layer for change in changes],
        "head": [change.head for change in changes],
        "number": [change.number for change in changes],
        "from": [change.first.name for change in changes],
        "to": [change.second.name for change in changes],
    }
    for name in ("before", "after", "change", "range", "share_of_range", "share_of_steps", "searched", "abrupt"):
        columns[name] = [getattr(change, name) for change in changes]
    types = {**dict.fromkeys((*words, "from", "to"), object), "layer": int, "searched": int, "abrupt": bool}
    return {name: np.array(column, dtype=types.get(name, float)) for name, column in columns.items()}


def diverged_note(names: Sequence[str], checkpoints: int) -> Iterator[str]:
    """Yield a note on checkpoints that are left out; raise ModelError if they are all.

    names        names of checkpoints whose parameters are not finite
    checkpoints  number of all checkpoints
    """
    if len(names) == checkpoints:
        raise ModelError(f"{listed(names)}: parameters are NaN or infinite, so there is no attention to measure")
    if names:
        yield f"{listed(names)}: left out, as parameters are NaN or infinite: the training diverged"


def overlap_note(texts: Sequence[Text], held_out: Sequence[Text]) -> Iterator[str]:
    """Yield a note if held-out texts are among the others, whose maps then explain themselves."""
    both = len({*texts} & {*held_out})
    if both:
        yield f"--held-out repeats {counted(both, 'text')} of the others: rigidity_difference is too low"
