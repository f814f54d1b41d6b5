"""Tables of the differences between two runs for the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from attncli.data import Array
from attncli.studies.compare.result import Comparison
from attncli.terminal import add_row, blank_table, escaped

if TYPE_CHECKING:
    from rich.table import Table

_MOST_ROWS, _MOST_EXAMPLES = 10, 5
_LONGEST_TEXT, _WIDTH = 60, 80
_HEADS = {
    "norm_distance": "norm_distance",
    "js_distance": "js_distance",
    "js_low": "low",
    "js_high": "high",
    "nearest_distance": "nearest_distance",
    "metric": "metric",
    "text_effect": "text effect",
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
_OF_CORPORA = {"change_alike": "alike", "text_effect": "text effect"}
_NOT_OF_CORPORA = ("b", "p_adjusted")
"""Columns that make place for these: b is a and the change, and of thousands of texts nearly every p is small."""
_TEXTS = ("metric", "matrix")
_INTERVAL = "low, high: 95 % interval over texts"
_COMMANDS = "compare-texts.csv has the commands that show them"
_EXAMPLES = "examples, chosen because they differ most: other texts differ less"


def comparison_tables(result: Comparison) -> Iterator[Table]:
    """Yield tables of the heads, measures, matrices and texts that differ most."""
    heads, measures = result.table(), result.measures_table()
    of_measures = dict(_MEASURES)
    if "text_effect" in measures:
        named = {**_MEASURES, **_OF_CORPORA}.items()
        of_measures = {name: title for name, title in named if name not in _NOT_OF_CORPORA}
    tables: tuple[tuple[str, dict[str, Array], dict[str, str]], ...]
    tables = (("heads that differ most", heads, _HEADS), ("largest changes from A to B", measures, of_measures))
    if result.weights:
        differing = result.weights["change"] != 0
        weights = {name: column[differing] for name, column in result.weights.items()}
        tables = (*tables, ("matrices that differ most", weights, _WEIGHTS))
    several_kinds = len(set(heads["kind"].tolist())) > 1
    for title, columns, titles in tables:
        if len(columns["kind"]):
            yield _table(title, columns, titles, several_kinds)
    if result.examples:
        yield from _example_tables(dict(result.examples), several_kinds)


def _table(title: str, columns: dict[str, Array], titles: dict[str, str], several_kinds: bool) -> Table:
    """Return the first rows of a table of heads; columns that are empty are left out."""
    from rich.text import Text

    cells = {name: [_cell(value) for value in columns[name][:_MOST_ROWS]] for name in titles if name in columns}
    names = [name for name in cells if any(cells[name])]
    text_names = [name for name in names if name in _TEXTS]
    table = blank_table(title, ["head", *text_names], [titles[name] for name in names if name not in _TEXTS])
    for column in table.columns[1:]:
        column.no_wrap = True
    if "low" in (titles[name] for name in names):
        alike = "\nalike: change between texts of equal length" * ("change_alike" in names)
        table.caption = Text(_INTERVAL + "; p: adjusted over heads" * ("p_adjusted" in names) + alike)
    for row in range(min(_MOST_ROWS, len(columns["kind"]))):
        add_row(table, [_head(columns, row, several_kinds), *(cells[name][row] for name in names)])
    return table


def _example_tables(examples: dict[str, Array], several_kinds: bool) -> Iterator[Table]:
    """Yield the first of the texts that differ most, of each side, with the command that shows the first of all."""
    from rich.text import Text

    sides = examples["side"].tolist() if "side" in examples else [""] * len(examples["rank"])
    number = "distance" if "side" in examples else "js_distance"
    for side in dict.fromkeys(sides):
        rows = [row for row, of_row in enumerate(sides) if of_row == side][:_MOST_EXAMPLES]
        other = "AB".replace(side, "") if side else ""
        title = f"texts of {side} that are farthest from the mean of {other}" if side else "texts that differ most"
        table = blank_table(title, ["place", "text", "head"], [number])
        for row in rows:
            text = " ".join(escaped(examples["text"][row]).split())
            shown = text if len(text) <= _LONGEST_TEXT else f"{text[: _LONGEST_TEXT - 1]}…"
            head = _head(examples, row, several_kinds)
            add_row(table, [escaped(examples["place"][row]), shown, head, _cell(examples[number][row])])
        command = next((examples[name][rows[0]] for name in ("view", "view_a") if name in examples), "")
        fits = command.isprintable() and 0 < len(command) <= _WIDTH  # a broken line is no command
        table.caption = Text(f"{_EXAMPLES}\n{command if fits else _COMMANDS}")
        yield table


def _head(columns: dict[str, Array], row: int, several_kinds: bool) -> str:
    head = f"{columns['layer'][row]}.{columns['head'][row]}"
    return f"{columns['kind'][row]} {head}" if several_kinds else head


def _cell(value: Any) -> str:
    """Return a text, or a number with four decimals, larger ones with two or none; empty for NaN."""
    if isinstance(value, str):
        return escaped(value)
    digits = 4 if abs(value) < 10 else 2 if abs(value) < 1000 else 0
    return "" if value != value else f"{value:z.{digits}f}"
