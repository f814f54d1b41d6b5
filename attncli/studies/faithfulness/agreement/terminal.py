"""The table of a terminal: Spearman's rho between methods."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attncli.studies.faithfulness.agreement.result import Agreement
from attncli.terminal import add_row, blank_table, three_digits

if TYPE_CHECKING:
    from rich.table import Table

_MOST_PAIRS = 12


def agreement_table(result: Agreement) -> Table:
    """Return a table of pairs of methods, those that agree most first."""
    from rich.text import Text

    pairs = result.pairs
    table = blank_table("agreement of methods", ["method", "other"], ["kendall", "spearman", "overlap"])
    order = (-pairs["spearman"]).argsort(kind="stable")
    for row in order[:_MOST_PAIRS].tolist():
        numbers = [three_digits(float(pairs[name][row])) for name in ("kendall", "spearman", "overlap")]
        add_row(table, [str(pairs["method"][row]), str(pairs["other"][row]), *numbers])
    more = f"; {len(order) - _MOST_PAIRS} more pairs in faithfulness-agreement.csv" if len(order) > _MOST_PAIRS else ""
    table.caption = Text(f"Overlap of two random orders: {result.chance.mean():.3f}{more}")
    table.caption_justify = "left"
    return table
