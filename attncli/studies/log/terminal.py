"""Tables of a series of checkpoints for a person."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from attncli.data import Array
from attncli.studies.log.series import LogSeries, largest_changes
from attncli.terminal import add_row, blank_table, escaped, three_digits

if TYPE_CHECKING:
    from rich.table import Table

_MOST_CHECKPOINTS = 12


def log_tables(series: LogSeries) -> Iterator[Table]:
    """Yield a table of the means over heads by checkpoint, and one of the largest changes."""
    yield _means(series)
    if len(series.checkpoints) > 1:
        yield _changes(series)


def _means(series: LogSeries) -> Table:
    """Return the highest score of a head and the mean of each metric over all heads, at up to 12 checkpoints."""
    from rich.text import Text

    shown = series.snapshots[0]
    columns = [*(f"best {score}" for score in shown.scores), *(f"mean {metric}" for metric in shown.metrics)]
    table = blank_table("all heads by checkpoint", ["step"], [name.replace("_", " ") for name in columns])
    count = len(series.checkpoints)
    chosen = np.unique(np.linspace(0, count - 1, min(count, _MOST_CHECKPOINTS)).round().astype(int))
    for index in chosen.tolist():
        heads = series.snapshots[index].heads
        values = [_of_defined(np.nanmax, heads[score]) for score in shown.scores]
        values += [_of_defined(np.nanmean, heads[metric]) for metric in shown.metrics]
        add_row(table, [escaped(series.checkpoints[index].label), *map(three_digits, values)])
    if len(chosen) < count:
        table.caption = Text(f"{len(chosen)} of {count} checkpoints; log.csv has all")
    return table


def _of_defined(reduce: Callable[[Array], Any], values: Array) -> float:
    return float(reduce(values)) if np.isfinite(values).any() else float("nan")


def _changes(series: LogSeries) -> Table:
    from rich.text import Text

    names = ["number", "head", "between"]
    table = blank_table("largest change between neighbouring checkpoints", names, ["before", "after", "of its range"])
    changes = list(largest_changes(series))
    kinds = {change.kind for change in changes}
    for change in changes:
        head = f"{change.kind} {change.name}" if len(kinds) > 1 else change.name
        between = f"{escaped(change.first.label)} and {escaped(change.second.label)}"
        numbers = [three_digits(change.before), three_digits(change.after), f"{change.share_of_range:.0%}"]
        add_row(table, [change.number, head, between, *numbers])
    table.caption = Text("of all heads (or layers), the one with the largest change: one of many changes by chance")
    return table
