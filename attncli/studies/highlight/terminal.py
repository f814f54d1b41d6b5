"""A highlight on a terminal: the text in colour, with a legend."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from attncli.plotting.highlight_colours import LEVELS, level_colours, readable_ink
from attncli.terminal import escaped

if TYPE_CHECKING:
    from rich.style import Style
    from rich.text import Text

    from attncli.studies.highlight.page import HighlightPage
    from attncli.studies.highlight.passage import TextCell

_BAR = 16
_FAINT = 3
"""Lower levels get no colour: they would look darker than the background of many terminals."""


def coloured_text(page: HighlightPage) -> Iterator[Text]:
    """Yield the title, the legend, and each line with its strongest tokens."""
    from rich.text import Text

    from attncli.studies.highlight import passage

    highlight = page.highlight
    yield Text(passage.highlight_title(highlight, page.kinds), style="bold")
    for below in passage.lines_below(highlight, page.model, page.note):
        yield Text(escaped(below), style="dim")
    yield _legend(passage.format_weight(highlight.top), passage.scale_label(highlight))
    for line in passage.text_lines(highlight):
        yield Text()
        yield Text(escaped(line.caption), style="dim")
        for cells in filter(None, (line.other, line.cells)):
            yield Text().append_tokens((escaped(cell.text), _style(cell)) for cell in cells)
        yield Text(escaped(line.strongest_text), style="dim")
    yield Text()


def _style(cell: TextCell) -> Style:
    from rich.style import Style

    mark = True if cell.focus else None
    if cell.state == "drawn" and cell.level >= _FAINT:
        colour = level_colours(dark=True)[cell.level]
        return Style(color=readable_ink(colour), bgcolor=colour, bold=mark, underline=mark)
    faint = True if cell.state in ("unseen", "undefined") else None
    return Style(dim=faint, italic=faint, bold=mark, underline=mark)


def _legend(top: str, unit: str) -> Text:
    from rich.style import Style
    from rich.text import Text

    text = Text("0 ")
    for step in range(_BAR):
        text.append(" ", style=Style(bgcolor=level_colours(dark=True)[step * (LEVELS - 1) // (_BAR - 1)]))
    return text.append(f" {top}  {unit.replace('marked', 'underlined')}")
