"""Tables and text on the terminal, with the same look for all commands."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from attncli.data import Scores


def escaped(text: str) -> str:
    """Return the text with control characters and half surrogates escaped."""
    return "".join(c if c in "\n\t" or c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def blank_table(title: str, words: Sequence[str], numbers: Sequence[str]) -> Table:
    """Return an empty table with left-aligned columns `words` and right-aligned columns `numbers`."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title), title_justify="left")
    for name in words:
        table.add_column(name)
    for name in numbers:
        table.add_column(name, justify="right")
    return table


def add_row(table: Table, cells: Sequence[str]) -> None:
    """Add a row; its cells are plain text, not markup."""
    from rich.text import Text

    table.add_row(*map(Text, cells))


def three_digits(value: float) -> str:
    """Return a number with three decimals, or an empty text for NaN."""
    return "" if math.isnan(value) else f"{value:z.3f}"


def with_baselines(
    heads: Mapping[str, Scores], baselines: Mapping[str, Mapping[str, Scores]], name: str, row: int
) -> list[str]:
    """Return a number of one head and of its baselines with three digits."""
    return [three_digits(scores[name].values[row]) for scores in (heads, *baselines.values())]
