"""The table of a terminal: how well methods find people's rationales."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attncli.studies.faithfulness.rationales.result import MEASURES, RationaleScores
from attncli.terminal import add_row, blank_table, three_digits

if TYPE_CHECKING:
    from rich.table import Table


def rationales_table(result: RationaleScores) -> Table:
    """Return a table of methods."""
    from rich.text import Text

    table = blank_table("people's rationales", ["method"], list(MEASURES))
    for row, name in enumerate(result.methods):
        add_row(table, [name, *(three_digits(float(result.means[measure][row])) for measure in MEASURES)])
    table.caption = Text(f"Mean over {result.texts} texts; {result.share.mean():.1%} of the units are in a rationale")
    table.caption_justify = "left"
    return table
