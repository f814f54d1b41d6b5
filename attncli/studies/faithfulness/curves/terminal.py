"""The table of a terminal: what removing the most important units does, for each method."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from attncli.studies.faithfulness.curves.result import MEASURES, Curves
from attncli.studies.faithfulness.orders import RANDOM
from attncli.terminal import add_row, blank_table, three_digits

if TYPE_CHECKING:
    from rich.console import RenderableType


def means_tables(result: Curves) -> Iterator[RenderableType]:
    """Yield a table for each removal: the means of all methods, those that beat random marked."""
    from rich.text import Text

    better = result.differences
    for removal in result.removals:
        table = blank_table(f"removal: {removal}", ["method"], list(MEASURES))
        for row in np.flatnonzero(result.means["removal"] == removal).tolist():
            method = str(result.means["method"][row])
            chosen = (better["removal"] == removal) & (better["method"] == method) & (better["baseline"] == RANDOM)
            marks = dict(zip(better["measure"][chosen].tolist(), better["better"][chosen].tolist(), strict=True))
            cells = [f"{three_digits(float(result.means[name][row]))}{_mark(marks.get(name))}" for name in MEASURES]
            add_row(table, [method, *cells])
        table.caption = Text(
            "Larger is better for comprehensiveness and insertion, smaller for the others. + better, - worse than "
            "random (95 % interval over texts leaves out 0, adjusted p at most 0.05)"
        )
        table.caption_justify = "left"
        yield table


def _mark(better: bool | None) -> str:
    return {True: " +", False: " -", None: "  "}[better]
