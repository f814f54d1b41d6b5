"""Tables of `prune` for the terminal: the curve, and the heads in the order of their removal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from attncli.studies.importance.result import UNITS, label_of
from attncli.studies.prune.result import Pruning
from attncli.terminal import add_row, blank_table, three_digits

if TYPE_CHECKING:
    from rich.table import Table

_MOST_ROWS, _MOST_HEADS = 11, 40


def curve_table(result: Pruning) -> Table:
    """Return the main effect at about ten shares, for each order."""
    from rich.text import Text

    title = f"{label_of(result.main)} without heads ({UNITS[result.main]})"
    columns = ["heads", "share", "least important first", "random", "most important first"]
    table = blank_table(title, [], columns)
    counts = np.unique(result.curve["heads"]).tolist()
    shown = {counts[round(place)] for place in np.linspace(0, len(counts) - 1, min(_MOST_ROWS, len(counts)))}
    for count in sorted(shown | ({result.removed} if result.removed else set())):
        random = result.at("random", count)
        low, high = three_digits(random.min()), three_digits(random.max())
        band = low if low == high else f"{low} to {high}"
        add_row(
            table,
            [
                str(count),
                f"{count / len(result.names):.0%}",
                three_digits(result.at("importance", count)[0]),
                band,
                three_digits(result.at("reverse", count)[0]),
            ],
        )
    table.caption = Text(result.advice)
    table.caption_justify = "left"
    return table


def order_table(result: Pruning) -> Table:
    """Return the heads that are removed first, with the effect by which they were ranked."""
    table = blank_table("order of removal", [result.unit], ["rank", "importance"])
    table.add_column("")
    for row, name in enumerate(result.names[:_MOST_HEADS]):
        state = "removed" if result.heads["removed"][row] else ""
        add_row(table, [name, str(row + 1), three_digits(result.heads["importance"][row]), state])
    return table


def saved_table(result: Pruning) -> Table:
    """Return what the saved model is: its size, loss and speed before and after."""
    from rich.text import Text

    saved = result.saved
    table = blank_table(f"saved as {saved['form']}: {saved['folder']}", [""], ["before", "after"])
    for name in ("parameters", "bytes"):
        add_row(table, [name, *(f"{number:,}" for number in saved[name])])
    if result.main == "loss":
        losses = result.loss, result.loss + saved["effects"]["loss"]
        add_row(table, ["loss (nat/token)", *map(three_digits, losses)])
    else:
        add_row(table, [label_of(result.main), "", three_digits(saved["effects"][result.main])])
    speed = saved["speed"]
    add_row(table, ["tokens per second", *(f"{speed[name]:,.0f}" for name in ("before", "after"))])
    table.caption = Text(
        f"speed: {speed['ratio']:.2f} times ({speed['low']:.2f} to {speed['high']:.2f}) as fast, in {speed['rounds']} "
        f"turns on a text of {speed['tokens']} tokens on this machine; other texts and machines differ"
    )
    table.caption_justify = "left"
    return table
