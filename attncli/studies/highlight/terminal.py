"""A highlight on a terminal: the text in colour, with a legend."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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

    from attncli.studies.highlight import passage as passages

    highlight = page.highlight
    cells = passages.text_cells(highlight.weighted, highlight.words)
    other = passages.text_cells(highlight.focused, highlight.words) if highlight.across else []
    yield Text(passages.highlight_title(highlight), style="bold")
    for line in passages.lines_below(highlight, page.model, page.note):
        yield Text(escaped(line), style="dim")
    yield _legend(passages.format_weight(highlight.top), passages.scale_label(highlight))
    for line_ in highlight.lines:
        own = passages.weighted_cells(highlight, line_, cells)
        yield Text()
        yield Text(escaped(passages.line_caption(highlight, line_)), style="dim")
        if other:
            yield _set(passages.focus_cells(line_, other))
        yield _set(own)
        said = "   ".join(f"{name} {weight}" for name, weight in passages.strongest_tokens(own)) or "none"
        yield Text(escaped(f"strongest:   {said}"), style="dim")
    yield Text()


def _set(cells: Sequence[TextCell]) -> Text:
    from rich.text import Text

    text = Text()
    for cell in cells:
        text.append(escaped(cell.text), style=_style(cell))
    return text


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
    for at in range(_BAR):
        text.append(" ", style=Style(bgcolor=level_colours(dark=True)[at * (LEVELS - 1) // (_BAR - 1)]))
    return text.append(f" {top}  {unit.replace('marked', 'underlined')}")
