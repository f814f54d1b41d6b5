"""Tables of the differences between two runs for the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from attncli.studies.compare.result import Comparison
from attncli.terminal import add_row, blank_table, escaped

if TYPE_CHECKING:
    from rich.table import Table

_MOST_ROWS = 10
_HEADS = ("js_distance", "js_low", "js_high", "nearest_distance")
_MEASURES = ("metric", "a", "b", "change", "change_low", "change_high", "p_adjusted")


def comparison_tables(result: Comparison) -> Iterator[Table]:
    """Yield a table of the heads that differ most, then a table of the largest changes."""
    heads, measures = result.table(), result.measures_table()
    several_kinds = len(set(heads["kind"].tolist())) > 1
    tables = (("heads that differ most", heads, _HEADS), ("largest changes from A to B", measures, _MEASURES))
    for title, columns, column_names in tables:
        cells = {name: [_cell(value) for value in columns[name][:_MOST_ROWS]] for name in column_names}
        names = [name for name in column_names if any(cells[name])]
        text_names = [name for name in names if name == "metric"]
        table = blank_table(title, ["head", *text_names], [name for name in names if name != "metric"])
        for row in range(min(_MOST_ROWS, len(columns["kind"]))):
            head = f"{columns['layer'][row]}.{columns['head'][row]}"
            full_head = f"{columns['kind'][row]} {head}" if several_kinds else head
            add_row(table, [full_head, *(cells[name][row] for name in names)])
        yield table


def _cell(value: Any) -> str:
    """Return a text, or a number with four decimals; empty for NaN."""
    if isinstance(value, str):
        return escaped(value)
    return "" if value != value else f"{value:.4f}"
