"""A highlight as a picture: the text itself, a colour behind each token, a part for each head and focus."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from attncli.data.kinds import KNOWN, KindNames
from attncli.errors import UsageError
from attncli.plotting.axis import TICK_STYLE
from attncli.plotting.cells import HATCHED
from attncli.plotting.colours import DIVERGING, palette
from attncli.plotting.highlight_colours import LEVELS, SIGNED_LEVELS, readable_ink
from attncli.plotting.layout import EDGE, FigureLayout, Header
from attncli.plotting.picture_style import current_style
from attncli.plotting.text import FAINT, INK, SMALL, SUBTITLE, style, text_widths, with_fixed_style
from attncli.studies.highlight import passage
from attncli.studies.highlight.coloured import ColouredText, coloured_highlight, colours_of
from attncli.studies.highlight.passage import TextCell, TextLine
from attncli.studies.highlight.result import Highlight

WIDTH = 1200
_LINE_WIDTH = WIDTH - 2 * EDGE
_SIZE, _SPECIAL_SIZE = 10.0, 7.5
_SPACE, _PAD, _SPECIAL_PAD = 5.5, 2.0, 6.0
_LINE, _BOX = 38, 28
_MASKED_INK = "#767676"
_BAR = 380
_TALLEST = 60_000
_OUTLINE: dict[str, Any] = {"fill": False, "edgecolor": INK, "linewidth": 1.4}


@dataclass(frozen=True)
class _Box:
    """A cell, or a part of one that is longer than a line; `left` is counted from the left of its row."""

    cell: TextCell
    text: str
    left: float
    width: float


_Row = list[_Box]


def draw(highlight: Highlight, *, model: str = "", note: str = "", kinds: KindNames = KNOWN) -> Figure:
    """Return the picture of a highlight: where does attention from, or to, a word go on the text itself?

    Colours are weights, on one scale for all lines; the focus has an outline and an underline. Grey words are masked.
    Raises UsageError where the picture would be too tall.
    """
    return draw_text(coloured_highlight(highlight, model, note, kinds))


@with_fixed_style
def draw_text(text: ColouredText) -> Figure:
    """Return the picture of a text with weights; raise UsageError where it would be too tall."""
    parts = [_Part(line, _rows(line.cells), _rows(line.other)) for line in text.lines]
    header = Header.of(text.title, *text.below)
    scale_top = header.height + 10
    top = scale_top + 92
    height = top + sum(part.height for part in parts) + 10
    if height > _TALLEST:
        raise UsageError(f"the picture would be {height:,.0f} pixels high, of at most {_TALLEST:,}: {text.shorter}")
    page = FigureLayout.blank(WIDTH, height, header, widen=False)
    canvas = page.axes(0, 0, page.width, page.height)
    canvas.set(xlim=(0, page.width), ylim=(page.height, 0))
    colours = _level_colours(text.signed)
    _draw_scale(page, text, colours, scale_top)
    _draw_legend(canvas, text.looks, scale_top + 14)
    for part in parts:
        part.draw(canvas, top, colours)
        top += part.height
    return page.figure


@dataclass(frozen=True)
class _Part:
    """One line of a text, its cells with weights and its other text set in rows."""

    line: TextLine
    rows: list[_Row]
    other: list[_Row]

    @property
    def height(self) -> int:
        return 84 + _LINE * (len(self.rows) + len(self.other))

    def draw(self, axes: Axes, top: float, colours: Sequence[str]) -> None:
        axes.plot([EDGE, WIDTH - EDGE], [top, top], color="#d8d8d8", linewidth=0.6)
        axes.text(EDGE, top + 12, self.line.caption, **style(SUBTITLE, FAINT, ha="left", va="top"))
        top += 36
        for rows, cells in ((self.other, self.line.other), (self.rows, self.line.cells)):
            from_right = bool(passage.right_to_left(cells))
            for row in rows:
                for box, left in _places(row, from_right):
                    _draw_box(axes, box, left, top, colours)
                top += _LINE
        axes.text(EDGE, top + 4, self.line.strongest_text, **style(SMALL, FAINT, ha="left", va="top"))


def _rows(cells: Sequence[TextCell]) -> list[_Row]:
    """Return the cells in rows, broken at spaces, and within a word only where it is longer than a row.

    There is at most one empty row between others, and none at the start or end.
    """
    rows: list[_Row] = [[]]
    left = 0.0
    for boxes, space in _words(cells):
        if left and left + sum(box.width for box in boxes) > _LINE_WIDTH:
            rows.append([])
            left = 0.0
        for box in boxes:
            if left and left + box.width > _LINE_WIDTH:
                rows.append([])
                left = 0.0
            rows[-1].append(_Box(box.cell, box.text, left, box.width))
            left += box.width
        left += _SPACE * (space.count(" ") + 2 * space.count("\u3000")) if left else 0.0
        for _ in range(space.count("\n")):
            rows.append([])
            left = 0.0
    kept = [row for previous, row in pairwise([[], *rows]) if row or previous]
    return kept if kept and kept[-1] else kept[:-1]


def _words(cells: Sequence[TextCell]) -> Iterator[tuple[list[_Box], str]]:
    """Yield the boxes that must stay together, and the space after them."""
    # measured together, as measuring is slow
    plain = iter(text_widths([cell.text for cell in cells if not cell.special], _SIZE))
    special = iter(text_widths([cell.text for cell in cells if cell.special], _SPECIAL_SIZE))
    word: list[_Box] = []
    for cell in cells:
        width = next(special if cell.special else plain)
        if not cell.text.strip() and not cell.positions:
            yield word, cell.text
            word = []
            continue
        word += _boxes(cell, width)
        if not cell.text.strip():
            yield word, ""
            word = []
    yield word, ""


def _boxes(cell: TextCell, width: float) -> Iterator[_Box]:
    """Yield the boxes of a cell: one, unless the cell is longer than a row."""
    pad = _SPECIAL_PAD if cell.special else _PAD if cell.positions else 0.0
    if not cell.text.strip(" "):
        width = _SPACE * len(cell.text)
    pieces = -(-width // (_LINE_WIDTH - 2 * pad - 20)) or 1
    step = -(-len(cell.text) // int(pieces))
    for first in range(0, max(1, len(cell.text)), max(1, step)):
        text = cell.text[first : first + step]
        box_width = width if pieces == 1 else text_widths([text], _SPECIAL_SIZE if cell.special else _SIZE)[0]
        yield _Box(cell, text, 0.0, box_width + 2 * pad)


def _places(row: _Row, from_right: bool) -> Iterator[tuple[_Box, float]]:
    """Yield each box with its left edge on the page; runs against the direction of the text are reversed."""
    for reverse, group in groupby(zip(row, _against(row, from_right), strict=True), key=lambda pair: pair[1]):
        run = [box for box, _ in group]
        first, last = run[0].left, run[-1].left + run[-1].width
        for box in run:
            left = first + last - box.left - box.width if reverse else box.left
            yield box, WIDTH - EDGE - left - box.width if from_right else EDGE + left


def _against(row: _Row, from_right: bool) -> list[bool]:
    """Return whether each box runs against the text; one without letters does where both neighbours do."""
    directions = [None if box.cell.special else passage.right_to_left([box.cell]) for box in row]
    against = []
    for n, direction in enumerate(directions):
        if direction is None:
            before = next((other for other in reversed(directions[:n]) if other is not None), from_right)
            after = next((other for other in directions[n:] if other is not None), from_right)
            direction = before if before == after else from_right
        against.append(direction != from_right)
    return against


def _draw_box(axes: Axes, box: _Box, left: float, top: float, colours: Sequence[str]) -> None:
    cell = box.cell
    if cell.positions and cell.state in ("drawn", "undefined"):
        colour: dict[str, Any] = {"facecolor": colours[cell.level], "linewidth": 0}
        look = HATCHED if cell.state == "undefined" else colour
        axes.add_patch(Rectangle((left, top), box.width, _BOX, **look))
    if cell.special and not cell.focus:
        axes.add_patch(Rectangle((left + 1, top), box.width - 2, _BOX, fill=False, edgecolor="#c8c8c8", linewidth=0.6))
    if cell.focus:
        axes.add_patch(Rectangle((left, top), box.width, _BOX, zorder=3, **_OUTLINE))
        axes.plot(
            [left + 3, left + box.width - 3], [top + _BOX - 4] * 2, color=_ink(cell, colours), linewidth=1.2, zorder=3
        )
    look = style(_SPECIAL_SIZE if cell.special else _SIZE, _ink(cell, colours), ha="center", va="baseline", zorder=4)
    axes.text(left + box.width / 2, top + 20, box.text, **look)


def _level_colours(signed: bool) -> Sequence[str]:
    """Return the colour of each level: those of pages, or along the colour map that the user chose."""
    chosen = current_style()
    if chosen.cmap is None or (signed and not chosen.diverging):
        return colours_of(signed)
    return palette(SIGNED_LEVELS, DIVERGING) if signed else palette(LEVELS)


def _ink(cell: TextCell, colours: Sequence[str]) -> str:
    if cell.state == "drawn":
        return readable_ink(colours[cell.level])
    return _MASKED_INK if cell.state == "unseen" else INK


def _draw_scale(page: FigureLayout, text: ColouredText, colours: Sequence[str], top: float) -> None:
    """Draw the colour bar with its numbers and unit."""
    # a number below 0 is wider, and in the middle of the left edge
    indent = 16 if text.signed else 0
    axes = page.axes(EDGE + indent, top, _BAR - indent, 16)
    axes.imshow(np.arange(len(colours))[None], cmap=ListedColormap(colours), aspect="auto", extent=(0, 4, 0, 1))
    axes.set_frame_on(True)
    for spine in axes.spines.values():
        spine.set(linewidth=0.5, color="#c8c8c8")
    axes.tick_params(**TICK_STYLE)
    axes.set_xticks(range(5), labels=text.ticks, **style(SMALL))
    page.write(EDGE, top + 46, text.unit, SUBTITLE, FAINT)


def _draw_legend(axes: Axes, entries: Sequence[tuple[str, str]], middle: float) -> None:
    """Draw the looks that are not colours, on the right of the colour bar."""
    left = EDGE + _BAR + 60.0
    for look, meaning in entries:
        width = text_widths([meaning], SMALL)[0] + 12
        if look in ("focus", "undefined"):
            box = _OUTLINE if look == "focus" else HATCHED
            axes.add_patch(Rectangle((left, middle - 16), width, 26, **box))
        ink = _MASKED_INK if look == "unseen" else INK
        axes.text(left + 6, middle + 3, meaning, **style(SMALL, ink, ha="left", va="baseline"))
        left += width + 24
