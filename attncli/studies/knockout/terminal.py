"""The tables of `knockout` for the terminal: the tokens or segments whose block lowers the prediction most."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from attncli.data import Array
from attncli.data.kinds import KNOWN, KindNames
from attncli.data.labels import escape_invisible
from attncli.studies.knockout.result import NO_EFFECT, Knockout
from attncli.terminal import add_row, blank_table, three_digits

if TYPE_CHECKING:
    from rich.table import Table

_MOST_ROWS = 10
_NUMBERS = {
    "probability": {"attention": "attention", "p": "probability", "change": "change", "ln p": "ln_change"},
    "number": {"attention": "attention", "number": "number", "change": "change"},
}
"""The columns of numbers by the score that is explained, with their headings."""


def knockout_tables(result: Knockout, kinds: KindNames = KNOWN) -> Iterator[Table]:
    """Yield for each kind the units with the largest drop, with the attention that they get."""
    for kind in result.kinds:
        yield _table(result, kind, kinds)


def _table(result: Knockout, kind: str, kinds: KindNames) -> Table:
    from rich.text import Text

    columns, layers = result.of_kind(kind), result.most_in(kind)
    of_segments = result.unit == "segment"
    shown, of_number = _NUMBERS[result.score], result.score == "number"
    numbers = ["tokens", *shown, "change if random" if of_number else "ln p if random"] if of_segments else [*shown]
    title = f"{result.score_name} = {result.probability:.3f}; with a blocked {result.unit}"
    table = blank_table(f"{kinds.attention(kind)}: {title}", [result.unit], numbers)
    table.add_column("most in\nlayer", no_wrap=True)
    if not of_number:
        table.add_column("then", overflow="fold")
    for row in np.argsort(columns[result.effect], kind="stable")[:_MOST_ROWS].tolist():
        values = [three_digits(float(columns[column][row])) for column in shown.values()]
        if of_segments:
            values = [
                str(columns["tokens"][row]),
                *values,
                three_digits(float(columns[f"random_{result.effect}"][row])),
            ]
        no_effect = abs(columns["change"][row]) <= NO_EFFECT
        window = "" if no_effect else "-".join(map(str, dict.fromkeys(layers[row])))
        then = [] if of_number else [escape_invisible(str(columns["predicted"][row]))]
        add_row(table, [_name(result, kind, columns, row), *values, window, *then])
    table.caption = Text(caption(result, kind))
    table.caption_justify = "left"
    return table


def _name(result: Knockout, kind: str, columns: Mapping[str, Array], row: int) -> str:
    """Return the name of a segment, or a token with its position; the row that is blocked is `itself`."""
    name, position = escape_invisible(str(columns["name"][row])), int(columns["key"][row])
    if result.unit == "segment":
        return name
    itself = ", itself" if kind != "cross" and result.query[kind] == (position,) else ""
    return f"{name} ({position}{itself})"


def caption(result: Knockout, kind: str) -> str:
    """Return how many units have no effect, and what the numbers do not say."""
    columns = result.of_kind(kind)
    count, without = len(columns["name"]), result.without_effect(kind)
    what = "it" if result.score == "number" else "p"
    none = (
        f"{without} of {count} {result.unit}s change {what} by at most {NO_EFFECT}"
        if without < count
        else (f"no {result.unit} changes {what} by more than {NO_EFFECT}: no measurable effect")
    )
    positions = result.query[kind]
    rows = f"token {positions[0]}" if len(positions) == 1 else f"{len(positions)} tokens"
    correlation = result.correlation[kind]
    attention = "" if correlation != correlation else f". Rank correlation of attention and drop: {correlation:.2f}"
    return (
        f"Blocked in all layers, from {rows}. {none}{attention}. What other tokens have read of a "
        f"blocked one still arrives through them"
    )
