"""Tables of `stats` for a person: for each metric the mean over heads, and the lowest and the highest head."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from attncli.data import Scores, Statistics
from attncli.data.kinds import KNOWN, KindNames
from attncli.data.results import without_noise
from attncli.terminal import add_row, blank_table, three_digits

if TYPE_CHECKING:
    from rich.table import Table


def metric_tables(statistics: Statistics, kinds: KindNames = KNOWN) -> Iterator[Table]:
    """Yield one table per kind of attention."""
    norms = " by norms" if statistics.by == "norm" else ""
    first = next(iter(statistics.heads.values()), None)
    for kind in () if first is None else dict.fromkeys(first.coords["kind"][1].tolist()):
        yield _kind_table(
            kinds.attention(kind) + norms, [scores.sel(kind=kind) for scores in statistics.heads.values()]
        )


def _kind_table(title: str, metrics: list[Scores]) -> Table:
    table = blank_table(f"{title}, {len(metrics[0].values)} heads", ["metric", "unit"], ["mean", "lowest"])
    table.add_column("head")
    table.add_column("highest", justify="right")
    table.add_column("head")
    for scores in metrics:
        values = without_noise(scores.values)
        numbers = values[np.isfinite(values)]
        if len(numbers):
            ends = (np.flatnonzero(values == end)[0] for end in (numbers.min(), numbers.max()))
            # heads that are all equal have no lowest and no highest one
            cells = ((three_digits(values[row]), _head(scores, row) if np.ptp(numbers) else "") for row in ends)
            add_row(table, [scores.metric, scores.unit, three_digits(numbers.mean()), *chain(*cells)])
    return table


def _head(scores: Scores, row: int) -> str:
    return f"{scores.coords['layer'][1][row]}.{scores.coords['head'][1][row]}"
