"""A highlight on a terminal: the text in colour, with a legend."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from attncli.plotting.highlight_colours import LEVELS, colours, ink
from attncli.terminal.escape import escaped

if TYPE_CHECKING:
    from rich.style import Style
    from rich.text import Text

    from attncli.studies.highlight.page import HighlightPage
    from attncli.studies.highlight.passage import Cell

_BAR = 16
_FAINT = 3
"""Lower levels get no colour: they would look darker than the background of many terminals."""


def coloured_text(page: HighlightPage) -> Iterator[Text]:
    """Yield the title, the legend, and each line with its strongest tokens."""
    from rich.text import Text

    from attncli.studies.highlight import passage as passages

    highlight = page.highlight
    cells = passages.passage(highlight.painted, highlight.words)
    other = passages.passage(highlight.focused, highlight.words) if highlight.across else []
    yield Text(passages.title(highlight), style="bold")
    for line in passages.lines_below(highlight, page.model, page.note):
        yield Text(escaped(line), style="dim")
    yield _legend(passages.number(highlight.top), passages.unit(highlight))
    for line_ in highlight.lines:
        own = passages.painted(highlight, line_, cells)
        yield Text()
        yield Text(escaped(passages.caption(highlight, line_)), style="dim")
        if other:
            yield _coloured(passages.marked(line_, other))
        yield _coloured(own)
        strongest = "   ".join(f"{name} {weight}" for name, weight in passages.strongest(own)) or "none"
        yield Text(escaped(f"strongest:   {strongest}"), style="dim")
    yield Text()


def _coloured(cells: Sequence[Cell]) -> Text:
    from rich.text import Text

    text = Text()
    for cell in cells:
        text.append(escaped(cell.text), style=_style(cell))
    return text


def _style(cell: Cell) -> Style:
    from rich.style import Style

    mark = True if cell.focus else None
    if cell.state == "drawn" and cell.level >= _FAINT:
        colour = colours(dark=True)[cell.level]
        return Style(color=ink(colour), bgcolor=colour, bold=mark, underline=mark)
    faint = True if cell.state in ("unseen", "undefined") else None
    return Style(dim=faint, italic=faint, bold=mark, underline=mark)


def _legend(top: str, unit: str) -> Text:
    from rich.style import Style
    from rich.text import Text

    text = Text("0 ")
    for cell in range(_BAR):
        text.append(" ", style=Style(bgcolor=colours(dark=True)[cell * (LEVELS - 1) // (_BAR - 1)]))
    return text.append(f" {top}  {unit.replace('marked', 'underlined')}")
