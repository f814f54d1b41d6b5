"""A highlight as a picture: the text itself, a colour behind each token, a line for each head and focus."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from attncli.errors import UsageError
from attncli.plotting.cells import HATCH, HATCH_INK
from attncli.plotting.highlight_colours import LEVELS, colours, ink
from attncli.plotting.layout import EDGE, FigureLayout, header_size
from attncli.plotting.text import FAINT, INK, SMALL, SUBTITLE, style, widths
from attncli.plotting.theme import own_style
from attncli.studies.highlight.passage import (
    Cell,
    caption,
    direction,
    legend,
    lines_below,
    marked,
    number,
    painted,
    passage,
    right_to_left,
    strongest,
    title,
    unit,
)
from attncli.studies.highlight.result import Highlight, HighlightLine

WIDTH = 1200
_SIZE, _CHIP = 10.0, 7.5
_SPACE, _PAD, _CHIP_PAD = 5.5, 2.0, 6.0
_LINE, _BOX = 38, 28
_UNSEEN = "#767676"
_BAR = 380
_HIGHEST = 60_000


@dataclass(frozen=True)
class _Box:
    """A cell, or a part of one that is longer than a line, with its place from the left of its row."""

    cell: Cell
    text: str
    left: float
    width: float


_Row = list[_Box]


@own_style
def draw(highlight: Highlight, *, model: str = "", note: str = "") -> Figure:
    """Where do heads look from a word, or from where is it looked at, on the text itself?

    Colours are weights on one scale for all lines; the focus is outlined and underlined. Grey words have no weight:
    they may not be seen from the focus, or may not see it.
    """
    cells = passage(highlight.painted, highlight.words)
    other = passage(highlight.focused, highlight.words) if highlight.across else []
    parts = [_Part.of(highlight, line, cells, other) for line in highlight.lines]
    named, below = title(highlight), lines_below(highlight, model, note)
    top = header_size(named, below)[1] + 10
    room = 92
    height = top + room + sum(part.height for part in parts) + 10
    if height > _HIGHEST:
        raise UsageError(
            f"the picture would be {height:,.0f} pixels high, of at most {_HIGHEST:,}: choose fewer lines (--focus, "
            "--layer, --head), or --format html"
        )
    page = FigureLayout.blank(WIDTH, height)
    page.header(named, below)
    canvas = page.axes(0, 0, page.width, page.height)
    canvas.set(xlim=(0, page.width), ylim=(page.height, 0))
    _scale(page, highlight, top)
    _looks(canvas, highlight, {cell.state for part in parts for cell in part.cells}, top + 14)
    down = top + room
    for part in parts:
        part.draw(canvas, down)
        down += part.height
    return page.figure


@dataclass(frozen=True)
class _Part:
    """One line of a highlight, set in rows."""

    caption: str
    cells: list[Cell]
    rows: list[_Row]
    other: list[_Row]
    strongest: str
    turned: tuple[bool, bool]

    @classmethod
    def of(cls, highlight: Highlight, line: HighlightLine, cells: Sequence[Cell], other: Sequence[Cell]) -> _Part:
        own, context = painted(highlight, line, cells), marked(line, other)
        said = "   ".join(f"{name} {weight}" for name, weight in strongest(own)) or "none"
        return cls(
            caption(highlight, line),
            own,
            _rows(own),
            _rows(context),
            f"strongest:   {said}",
            (right_to_left(context), right_to_left(own)),
        )

    @property
    def height(self) -> int:
        return 84 + _LINE * (len(self.rows) + len(self.other))

    def draw(self, axes: Axes, top: float) -> None:
        axes.plot([EDGE, WIDTH - EDGE], [top, top], color="#d8d8d8", linewidth=0.6)
        top += 8
        axes.text(EDGE, top + 4, self.caption, **style(SUBTITLE, FAINT, ha="left", va="top"))
        top += 28
        for rows, turned in zip((self.other, self.rows), self.turned, strict=True):
            for row in rows:
                _draw_row(axes, row, top, turned)
                top += _LINE
        axes.text(EDGE, top + 4, self.strongest, **style(SMALL, FAINT, ha="left", va="top"))


def _rows(cells: Sequence[Cell]) -> list[_Row]:
    """Cells in rows of the page, broken at spaces, within words only where one is longer than a row."""
    rows: list[_Row] = [[]]
    left = 0.0
    room = WIDTH - 2 * EDGE
    for unit_, space in _units(cells):
        width = sum(box.width for box in unit_)
        if left and (left + width > room):
            rows.append([])
            left = 0.0
        for box in unit_:
            if left and left + box.width > room:
                rows.append([])
                left = 0.0
            rows[-1].append(_Box(box.cell, box.text, left, box.width))
            left += box.width
        left += _SPACE * (space.count(" ") + 2 * space.count("\u3000")) if left else 0.0
        for _ in range(space.count("\n")):
            rows.append([])
            left = 0.0
    return _tidy(rows)


def _tidy(rows: Sequence[_Row]) -> list[_Row]:
    """The rows with at most one empty one between others, and none around them."""
    kept: list[_Row] = []
    for row in rows:
        if row or (kept and kept[-1]):
            kept.append(row)
    return kept if kept and kept[-1] else kept[:-1]


def _units(cells: Sequence[Cell]) -> Iterator[tuple[list[_Box], str]]:
    """What must stay together, and the space after it."""
    unit_: list[_Box] = []
    for cell, box in _measured(cells):
        if not cell.text.strip() and not cell.at:
            yield unit_, cell.text
            unit_ = []
            continue
        unit_ += box
        if not cell.text.strip():
            yield unit_, ""
            unit_ = []
    yield unit_, ""


def _measured(cells: Sequence[Cell]) -> list[tuple[Cell, list[_Box]]]:
    """Each cell with its boxes: one, unless it is longer than a row."""
    plain = widths([cell.text for cell in cells if not cell.special], _SIZE)
    chips = widths([cell.text for cell in cells if cell.special], _CHIP)
    sizes = {False: iter(plain), True: iter(chips)}
    return [(cell, list(_boxes(cell, next(sizes[cell.special])))) for cell in cells]


def _boxes(cell: Cell, width: float) -> Iterator[_Box]:
    pad = _CHIP_PAD if cell.special else _PAD if cell.at else 0.0
    if not cell.text.strip(" "):
        width = _SPACE * len(cell.text)
    pieces = -(-width // (WIDTH - 2 * EDGE - 2 * pad - 20)) or 1
    step = -(-len(cell.text) // int(pieces))
    for first in range(0, max(1, len(cell.text)), max(1, step)):
        text = cell.text[first : first + step]
        own = width if pieces == 1 else widths([text], _CHIP if cell.special else _SIZE)[0]
        yield _Box(cell, text, 0.0, own + 2 * pad)


def _draw_row(axes: Axes, row: _Row, top: float, turned: bool) -> None:
    for box, left in _turned(row, turned):
        _draw_box(axes, box, left, top)


def _turned(row: _Row, turned: bool) -> Iterator[tuple[_Box, float]]:
    """Each box with its place on the page: stretches that run against the direction of the text are turned round."""
    for against, group in groupby(zip(row, _against(row, turned), strict=True), key=lambda pair: pair[1]):
        stretch = [box for box, _ in group]
        first, last = stretch[0].left, stretch[-1].left + stretch[-1].width
        for box in stretch:
            left = first + last - box.left - box.width if against else box.left
            yield box, WIDTH - EDGE - left - box.width if turned else EDGE + left


def _against(row: _Row, turned: bool) -> list[bool]:
    """Whether each box runs against the text; what has no direction of its own does where both neighbours do."""
    own = [None if box.cell.special else direction([box.cell]) for box in row]
    found = []
    for at, mine in enumerate(own):
        before = next((each for each in reversed(own[:at]) if each is not None), turned)
        after = next((each for each in own[at:] if each is not None), turned)
        resolved = mine if mine is not None else before if before == after else turned
        found.append(resolved != turned)
    return found


def _draw_box(axes: Axes, box: _Box, left: float, top: float) -> None:
    cell = box.cell
    colour = colours()[cell.level]
    if cell.at and cell.state in ("drawn", "undefined"):
        look: dict[str, Any] = {"facecolor": colour, "linewidth": 0}
        if cell.state == "undefined":
            look = {"facecolor": "white", "edgecolor": HATCH_INK, "hatch": HATCH, "linewidth": 0}
        axes.add_patch(Rectangle((left, top), box.width, _BOX, **look))
    if cell.special and not cell.focus:
        axes.add_patch(Rectangle((left + 1, top), box.width - 2, _BOX, fill=False, edgecolor="#c8c8c8", linewidth=0.6))
    if cell.focus:
        axes.add_patch(Rectangle((left, top), box.width, _BOX, fill=False, edgecolor=INK, linewidth=1.4, zorder=3))
        axes.plot([left + 3, left + box.width - 3], [top + _BOX - 4] * 2, color=_ink(cell), linewidth=1.2, zorder=3)
    size = _CHIP if cell.special else _SIZE
    axes.text(left + box.width / 2, top + 20, box.text, **style(size, _ink(cell), ha="center", va="baseline", zorder=4))


def _ink(cell: Cell) -> str:
    if cell.state == "drawn":
        return ink(colours()[cell.level])
    return _UNSEEN if cell.state == "unseen" else INK


def _scale(page: FigureLayout, highlight: Highlight, top: float) -> None:
    """The colour bar with its numbers and unit."""
    axes = page.axes(EDGE, top, _BAR, 16)
    axes.imshow(np.arange(LEVELS)[None], cmap=ListedColormap(colours()), aspect="auto", extent=(0, 4, 0, 1))
    axes.set_frame_on(True)
    for spine in axes.spines.values():
        spine.set(linewidth=0.5, color="#c8c8c8")
    ticks = [number(highlight.top * part / 4) for part in range(5)]
    axes.tick_params(length=3, width=0.6, pad=2, color=FAINT)
    axes.set_xticks(range(5), labels=ticks, **style(SMALL))
    page.write(EDGE, top + 46, unit(highlight), SUBTITLE, FAINT)


def _looks(axes: Axes, highlight: Highlight, states: set[Any], middle: float) -> None:
    """What is not told by colours, beside the bar."""
    left = EDGE + _BAR + 60.0
    for name, meaning in legend(highlight, states):
        state = "between" if name == "focus" else name
        cell = Cell(meaning, (0,), state=state, focus=name == "focus")  # type: ignore[arg-type]
        width = widths([meaning], SMALL)[0] + 12
        if name == "focus":
            axes.add_patch(Rectangle((left, middle - 16), width, 26, fill=False, edgecolor=INK, linewidth=1.4))
        elif name == "undefined":
            look: dict[str, Any] = {"facecolor": "white", "edgecolor": HATCH_INK, "hatch": HATCH, "linewidth": 0}
            axes.add_patch(Rectangle((left, middle - 16), width, 26, **look))
        axes.text(left + 6, middle + 3, meaning, **style(SMALL, _ink(cell), ha="left", va="baseline"))
        left += width + 24
