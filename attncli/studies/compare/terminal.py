"""Tables of the differences between two runs for the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from attncli.data import Array
from attncli.studies.compare.result import Comparison
from attncli.terminal import add_row, blank_table, escaped

if TYPE_CHECKING:
    from rich.table import Table

_MOST_ROWS = 10
_HEADS = {
    "norm_distance": "norm_distance",
    "js_distance": "js_distance",
    "js_low": "low",
    "js_high": "high",
    "nearest_distance": "nearest_distance",
}
_WEIGHTS = {"matrix": "matrix", "change": "change"}
_MEASURES = {
    "metric": "metric",
    "a": "a",
    "b": "b",
    "change": "change",
    "changed": "changed",
    "change_low": "low",
    "change_high": "high",
    "p_adjusted": "p",
}
_TEXTS = ("metric", "matrix")
_INTERVAL = "low, high: 95 % interval over texts"


def comparison_tables(result: Comparison) -> Iterator[Table]:
    """Yield tables of the heads that differ most, of the largest changes, and of the matrices that differ most."""
    from rich.text import Text

    heads, measures = result.table(), result.measures_table()
    several_kinds = len(set(heads["kind"].tolist())) > 1
    tables: tuple[tuple[str, dict[str, Array], dict[str, str]], ...]
    tables = (("heads that differ most", heads, _HEADS), ("largest changes from A to B", measures, _MEASURES))
    if result.weights:
        differing = result.weights["change"] != 0
        weights = {name: column[differing] for name, column in result.weights.items()}
        tables = (*tables, ("matrices that differ most", weights, _WEIGHTS))
    for title, columns, titles in tables:
        if not len(columns["kind"]):
            continue
        cells = {name: [_cell(value) for value in columns[name][:_MOST_ROWS]] for name in titles if name in columns}
        names = [name for name in cells if any(cells[name])]
        text_names = [name for name in names if name in _TEXTS]
        table = blank_table(title, ["head", *text_names], [titles[name] for name in names if name not in _TEXTS])
        for column in table.columns[1:]:
            column.no_wrap = True
        if "low" in (titles[name] for name in names):
            table.caption = Text(_INTERVAL + "; p: adjusted over heads" * ("p_adjusted" in names))
        for row in range(min(_MOST_ROWS, len(columns["kind"]))):
            head = f"{columns['layer'][row]}.{columns['head'][row]}"
            full_head = f"{columns['kind'][row]} {head}" if several_kinds else head
            add_row(table, [full_head, *(cells[name][row] for name in names)])
        yield table


def _cell(value: Any) -> str:
    """Return a text, or a number with four decimals, larger ones with two or none; empty for NaN."""
    if isinstance(value, str):
        return escaped(value)
    digits = 4 if abs(value) < 10 else 2 if abs(value) < 1000 else 0
    return "" if value != value else f"{value:z.{digits}f}"
