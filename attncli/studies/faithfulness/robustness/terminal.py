"""The table of a terminal: infidelity and sensitivity."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attncli.studies.faithfulness.robustness.result import MEASURES, Robustness
from attncli.terminal import add_row, blank_table

if TYPE_CHECKING:
    from rich.table import Table


def robustness_table(result: Robustness) -> Table:
    """Return a table of methods; smaller is better."""
    from rich.text import Text

    table = blank_table("robustness", ["method"], list(MEASURES))
    for row, name in enumerate(result.methods):
        numbers = [float(result.means[measure][row]) for measure in MEASURES]
        add_row(table, [name, *("" if number != number else f"{number:.3g}" for number in numbers)])
    table.caption = Text("Smaller is better. A method that never changes its values has the sensitivity 0")
    table.caption_justify = "left"
    return table
