"""Tables of `importance` for the terminal: the heads that matter most, dead heads, and what attention predicts."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from attncli.studies.importance.result import SIGNED, UNITS, Importance, label_of
from attncli.terminal import add_row, blank_table, three_digits

if TYPE_CHECKING:
    from rich.table import Table

_MOST_DEAD, _MOST_PREDICTORS = 12, 12
_WAYS = {"zero": "without the head", "mean": "with the mean output of the head", "gradient": "of its gate"}


def heads_table(result: Importance, top: int) -> Table:
    """Return a table of the `top` rows with the largest effect."""
    from rich.text import Text

    columns, with_interval = result.columns, not math.isnan(result.columns[f"{result.main}_low"][0])
    unit = "" if UNITS[result.main] == "1" else f" ({UNITS[result.main]})"
    title = f"importance by {result.method}: {label_of(result.main)} {_WAYS[result.method]}{unit}"
    interval = {"low": f"{result.main}_low", "high": f"{result.main}_high"} if with_interval else {}
    if with_interval and result.main in SIGNED:
        interval["p"] = "p_adjusted"
    table = blank_table(title, [result.unit], [result.main, *interval, *result.measures[1:], "contribution"])
    table.add_column("")
    for row, name in enumerate(result.names[:top]):
        shown = (result.main, *interval.values(), *result.measures[1:], "contribution")
        numbers = [columns[column][row] for column in shown]
        effect = "no measurable effect" if columns["measurable"][row] is False else ""
        add_row(table, [name, *map(three_digits, numbers), effect])
    legend = "; low, high: 95 % interval over texts" if with_interval else ""
    legend += "; p: adjusted for all rows" if "p" in interval else ""
    loss = "" if math.isnan(result.loss) else f"; loss of the model: {result.loss:.3f} nat"
    table.caption = Text(f"{result.advice}{loss}{legend}")
    table.caption_justify = "left"
    return table


def dead_table(result: Importance) -> Table:
    """Return a table of the dead heads with the reason, and the two numbers behind it."""
    from rich.text import Text

    rows = {name: row for row, name in enumerate(result.names)}
    table = blank_table("dead heads", ["head", "reason"], [result.main, "contribution"])
    for name, reason in result.dead[:_MOST_DEAD]:
        numbers = [result.columns[column][rows[name]] for column in (result.main, "contribution")]
        add_row(table, [name, reason, *map(three_digits, numbers)])
    if more := len(result.dead) - _MOST_DEAD:
        table.caption = Text(f"and {more} more in importance.csv") if more > 0 else None
        table.caption_justify = "left"
    return table


def predictors_table(result: Importance) -> Table:
    """Return a table of the statistics of attention that go with importance most closely."""
    from rich.text import Text

    table = blank_table("does attention predict importance?", ["statistic"], ["rho", "low", "high", "heads"])
    predictors = result.predictors
    for row in range(min(_MOST_PREDICTORS, len(predictors["rho"]))):
        numbers = [three_digits(predictors[name][row]) for name in ("rho", "low", "high")]
        add_row(table, [str(predictors["statistic"][row]), *numbers, str(predictors["heads"][row])])
    table.caption = Text("Spearman's rho over heads, with its 95 % interval; an interval that holds 0 predicts nothing")
    table.caption_justify = "left"
    return table
