"""Tables and text on the terminal, with the same look for all commands: they fit into 80 columns."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from textwrap import wrap
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from attncli.data import Scores, Text

_MOST_TEXTS, _WIDEST_TEXT, _WIDEST_HEADER = 5, 140, 10

SHUFFLED = (
    "shuffled: the same tokens in another order. Where it is near the number, position and single tokens explain "
    "the number; the difference to it is what the order of the tokens adds."
)
"""What the column of the shuffled baseline means, below tables."""


def escaped(text: str) -> str:
    """Return the text with control characters and half surrogates escaped."""
    return "".join(c if c in "\n\t" or c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def blank_table(title: str, words: Sequence[str], numbers: Sequence[str]) -> Table:
    """Return an empty table with left-aligned columns `words` and right-aligned columns `numbers`.

    Words that do not fit are continued in the next line of their cell; numbers never are.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=Text(title), title_justify="left", box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0)
    )
    for name in words:
        table.add_column(Text(name), overflow="fold")
    for name in numbers:
        # a header of several words has several lines, as numbers are narrow
        table.add_column(
            Text("\n".join(wrap(name, _WIDEST_HEADER, break_long_words=False))), justify="right", no_wrap=True
        )
    return table


def unwrapped(shown: RenderableType) -> list[RenderableType]:
    """Return a table between its title and its caption, which rich would break into lines as wide as the table."""
    from rich.table import Table
    from rich.text import Text

    if not isinstance(shown, Table):
        return [shown]
    title, caption = shown.title, shown.caption
    shown.title = shown.caption = None
    above = [Text.assemble(title, style="bold")] if isinstance(title, str | Text) and str(title) else []
    below = [Text.assemble(caption, style="dim")] if isinstance(caption, str | Text) else []
    return [*above, shown, *below]


def named_texts(texts: Mapping[Any, Text]) -> Iterator[str]:
    """Yield a line for each of the first texts, which are given by number or name, and the number of the others."""
    several = len(texts) > 1
    for number, text in list(texts.items())[:_MOST_TEXTS]:
        if text.line:
            name = f"text {number}" if several else "text"
            yield f"{name}: {_shortened(escaped(text.line))}"
    if more := len(list(texts)[_MOST_TEXTS:]):
        yield f"and {more} more text{'s' * (more > 1)}"


def _shortened(text: str) -> str:
    """Return the first words of a line, at most `_WIDEST_TEXT` cells; a long word is cut."""
    from rich.cells import cell_len, set_cell_size

    if cell_len(text) <= _WIDEST_TEXT:
        return text
    cut = set_cell_size(text, _WIDEST_TEXT).rstrip()
    return f"{cut.rpartition(' ')[0] or cut} …"


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
