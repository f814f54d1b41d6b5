"""Tables of `stats` for a person: for each metric the mean over heads, and the lowest and the highest head."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from attncli.data import Scores, Statistics
from attncli.terminal import add_row, three_digits

if TYPE_CHECKING:
    from rich.table import Table


def metric_tables(statistics: Statistics) -> Iterator[Table]:
    """Yield one table per kind of attention."""
    what = "norms" if statistics.by == "norm" else "attention"
    first = next(iter(statistics.heads.values()), None)
    for kind in () if first is None else dict.fromkeys(first.coords["kind"][1].tolist()):
        yield _kind_table(f"{kind} {what}", [scores.sel(kind=kind) for scores in statistics.heads.values()])


def _kind_table(title: str, metrics: list[Scores]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(f"{title}, {len(metrics[0].values)} heads"), title_justify="left")
    for name in ("metric", "unit", "mean", "lowest", "head", "highest", "head"):
        table.add_column(name, justify="right" if name in ("mean", "lowest", "highest") else "left")
    for scores in metrics:
        if np.isfinite(scores.values).any():
            numbers = scores.values[np.isfinite(scores.values)]
            low, high = numbers.min(), numbers.max()
            heads = [_head(scores, value) for value in (low, high)]
            mean, low_text, high_text = map(three_digits, (numbers.mean(), low, high))
            add_row(table, [scores.metric, scores.unit, mean, low_text, heads[0], high_text, heads[1]])
    return table


def _head(scores: Scores, value: float) -> str:
    """Return the first head with a value as `layer.head`."""
    row = np.flatnonzero(scores.values == value)[0]
    return f"{scores.coords['layer'][1][row]}.{scores.coords['head'][1][row]}"
