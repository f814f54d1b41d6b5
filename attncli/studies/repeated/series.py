"""The probe of repeated tokens over a series of checkpoints: which step the heads and the losses change at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from attncli.data.described import Tabulated, counted
from attncli.data.results import frame_of
from attncli.data.tokens import Array
from attncli.engine.checkpoints import Checkpoint, joined_tables, step_column
from attncli.studies.repeated.result import SCORES, Repeated

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False, repr=False)
class Series(Tabulated):
    """The scores and losses of every checkpoint of a series.

    checkpoints  the checkpoints in the order of their steps
    results      the result of the probe for each checkpoint; all have the same heads
    """

    checkpoints: Sequence[Checkpoint]
    results: Sequence[Repeated]

    def by_step(self) -> Iterator[dict[str, Any]]:
        """Yield a row per checkpoint: its losses, and the head with the highest value of each score."""
        for checkpoint, result in zip(self.checkpoints, self.results, strict=True):
            losses = result.losses.means() if result.losses else {}
            row: dict[str, Any] = {"checkpoint": checkpoint.name, "step": checkpoint.step}
            row |= {f"{copy}_loss": losses.get(copy) for copy in ("first", "second")}
            for score in SCORES:
                row[f"{score}_head"], row[score] = result.best(score)[0]
            yield row

    def steps_table(self) -> dict[str, Array]:
        """Return `by_step` as columns; undefined numbers are NaN."""
        rows = list(self.by_step())
        columns = {name: [row[name] for row in rows] for name in rows[0]}
        types = {name: object if name.endswith(("checkpoint", "_head")) else float for name in columns}
        table = {name: np.array(values, dtype=types[name]) for name, values in columns.items()}
        return {**table, "step": step_column([checkpoint.step for checkpoint in self.checkpoints])}

    def table(self) -> dict[str, Array]:
        """Return a row per checkpoint and head: coordinates, checkpoint, step, each score with its baselines."""
        return joined_tables(self.checkpoints, [result.table() for result in self.results], ("kind", "layer", "head"))

    def to_frame(self) -> pd.DataFrame:
        """Return `by_step` as a pandas table."""
        return frame_of(self.steps_table())

    def _lines(self) -> Iterable[str]:
        yield f"Series: {counted(len(self.checkpoints), 'checkpoint')}, {self.results[0].title}"
