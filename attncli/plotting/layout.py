"""Figures laid out in pixels from the top left corner, so that cells are whole pixels and nothing overlaps.

Studies share some panels: a page of panels, heads as rows, and a share beside its ratio to uniform attention.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.text import Text

from attncli.data import Array, Kind
from attncli.data.kinds import KindNames
from attncli.data.labels import escape_invisible
from attncli.plotting.axis import PART_MARK, TICK_STYLE, join_parts
from attncli.plotting.cells import COLOURS, DIVERGING, GAP, Cells, draw_cells
from attncli.plotting.render import ShownFigure
from attncli.plotting.text import DPI, FAINT, INK, SMALL, SUBTITLE, TITLE, fonts, measure, shorten_middle, style

EDGE = 24
BAR_WIDTH, BAR_ROOM = 18, 150
_WIDEST_HEADER = 1200
_SHORTEST_BAR, _LONGEST_BAR = 100, 800
_TALLEST_ROW, _FLATTEST_ROW, _PAGE_HEIGHT = 22, 2, 900  # pixels, like the others
_LAYER_GAP = 5
_LABEL_HEIGHT = 14


@dataclass(frozen=True)
class Header:
    """The title of a figure and the lines below it."""

    title: str
    lines: tuple[str, ...]

    @classmethod
    def of(cls, title: str, *lines: str) -> Header:
        """Return the header with those of the lines that are not empty; lines that are too wide are wrapped."""
        return cls(title, tuple(part for line in lines if line for part in _wrapped(line)))

    @property
    def width(self) -> float:
        """The pixels that it needs; a header far wider than a usual figure is shortened instead."""
        widest_line = measure(list(map(escape_invisible, self.lines)), SUBTITLE)[0]
        return min(max(measure([self.title], TITLE, "bold")[0], widest_line) + 4, _WIDEST_HEADER) + 2 * EDGE

    @property
    def height(self) -> int:
        """Pixels from the top of the figure to what follows the header."""
        return 60 + 20 * len(self.lines)


def _wrapped(line: str) -> list[str]:
    """Return a line of parts, or if it is wider than the widest header, lines of some of its parts."""
    width = measure([escape_invisible(line)], SUBTITLE)[0]
    if width <= _WIDEST_HEADER:
        return [line]
    room = min(_WIDEST_HEADER, 1.1 * width / math.ceil(width / _WIDEST_HEADER))  # lines of about the same width
    wrapped = [""]
    for part in line.split(PART_MARK):
        longer = f"{wrapped[-1]}{PART_MARK}{part}"
        fits = wrapped[-1] and measure([escape_invisible(longer)], SUBTITLE)[0] <= room
        wrapped = [*wrapped[:-1], longer] if fits else [*filter(None, wrapped), part]
    return wrapped


@dataclass(frozen=True)
class FigureLayout:
    """A figure of `width` x `height` pixels at `DPI`, and the ways to put things on it."""

    figure: Figure
    width: int
    height: int

    @classmethod
    def blank(cls, width: float, height: float, header: Header, *, widen: bool = True) -> FigureLayout:
        """Return a white figure with a header; pyplot is not used, so that no window opens.

        widen  make the figure wide enough for its header, which is shortened otherwise
        """
        columns, rows = round(max(width, header.width) if widen else width), round(height)
        figure = ShownFigure(figsize=(columns / DPI, rows / DPI), dpi=DPI, facecolor="white")
        FigureCanvasAgg(figure)
        page, room = cls(figure, columns, rows), columns - 2 * EDGE
        title = shorten_middle(header.title, TITLE, room, "bold")
        page.write(EDGE, 16, title, TITLE, weight="bold", gid="title")
        for number, line in enumerate(header.lines):
            page.write(EDGE, 44 + 20 * number, shorten_middle(escape_invisible(line), SUBTITLE, room), SUBTITLE, FAINT)
        return page

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """Return new axes without frame and ticks at this place."""
        down = self.height - top - height
        axes = self.figure.add_axes((left / self.width, down / self.height, width / self.width, height / self.height))
        axes.set_frame_on(False)
        axes.set(xticks=[], yticks=[])
        return axes

    def write(self, left: float, top: float, text: str, size: float, color: str = INK, **more: object) -> Text:
        """Write a text with its top left corner, or what `ha` and `va` name, at this place."""
        look = {"ha": "left", "va": "top", **more}
        return self.figure.text(left / self.width, 1 - top / self.height, text, **style(size, color, **look))

    def colour_bar(
        self, main: Axes, colours: ScalarMappable, label: str, extend: str = "neither", *, apart: float = 0
    ) -> Axes:
        """Draw a colour bar on the right of the main axes and return its axes; it is long enough for its label.

        apart  pixels of additional space between the main axes and the bar
        """
        box = main.get_position()
        main_height = box.height * self.height
        if measure([label], SUBTITLE)[0] > max(main_height, _SHORTEST_BAR):
            label = label.replace(" (", "\n(")
        height = min(max(main_height, _SHORTEST_BAR, measure(label.split("\n"), SUBTITLE)[0]), _LONGEST_BAR)
        axes = self.axes(box.x1 * self.width + BAR_WIDTH + apart, (1 - box.y1) * self.height, BAR_WIDTH, height)
        axes.set_frame_on(True)
        bar = self.figure.colorbar(colours, cax=axes, extend=extend)
        bar.outline.set_visible(False)
        if isinstance(colours.norm, LogNorm):
            bar.ax.yaxis.set_major_formatter("{x:g}")
            bar.ax.yaxis.set_minor_formatter("")
        bar.set_label(label, **style(SUBTITLE))
        bar.ax.tick_params(labelsize=SMALL, colors=INK, width=0.6, length=3)
        return bar.ax

    def legend(self, handles: Sequence[Artist], left: float, top: float) -> None:
        """Draw the handles with their labels as one line; nothing without handles."""
        if not handles:
            return
        legend = self.figure.legend(
            handles=handles,
            loc="upper left",
            bbox_to_anchor=(left / self.width, 1 - top / self.height),
            ncols=len(handles),
            borderpad=0,
            borderaxespad=0,
            **legend_style(),
        )
        for text in legend.get_texts():
            text.set_parse_math(False)


def legend_style() -> dict[str, Any]:
    """Return the keyword arguments that give every legend the same look."""
    return {"prop": {"family": list(fonts()), "size": SMALL}, "labelcolor": INK, "frameon": False}


@dataclass(frozen=True)
class PanelSize:
    """The pixels of one panel of a page and of the space around it."""

    width: float
    height: float
    left: int
    above: int
    below: int
    right: int


def panel_page(
    title: str, lines: Sequence[str], counts: Mapping[Kind, int], kinds: KindNames, size: PanelSize, below: int = 0
) -> tuple[FigureLayout, dict[Kind, list[tuple[float, float]]]]:
    """Return a page of equal panels in rows of at most four, and for each kind the top left corners of its panels.

    Each kind has a heading above its panels, or in the title if it is the only one; `counts` are the panels of each
    kind, `below` are pixels below the last row, for a legend.
    """
    several = len(counts) > 1
    heading = 36 if several else 0
    header = Header.of(title if several else join_parts(kinds.title(next(iter(counts))), title), *lines)
    columns = min(4, max(counts.values()))
    across, down = size.left + size.width + size.right, size.above + size.height + size.below
    rows = sum(-(-count // columns) for count in counts.values())
    height = header.height + len(counts) * heading + rows * down + below
    page = FigureLayout.blank(2 * EDGE + columns * across, height, header)
    top: float = header.height
    corners = {}
    for kind, count in counts.items():
        if several:
            page.write(EDGE, top, kinds.title(kind), 9.5, weight="bold")
        top += heading
        corners[kind] = [
            (EDGE + n % columns * across + size.left, top + n // columns * down + size.above) for n in range(count)
        ]
        top += -(-count // columns) * down
    return page, corners


@dataclass(frozen=True, eq=False)
class HeadRows:
    """Heads, or combined layers, as the rows of a picture: layer by layer from the top, with gaps between layers.

    layers, heads  [head] numbers of the layer and of the head
    tall           height of a row in pixels
    rows           [head] row of each head; gaps between layers are rows too
    combined       whether a row is a whole layer
    """

    layers: Array
    heads: Array
    tall: int
    rows: Array
    combined: bool = False

    @classmethod
    def of(cls, layers: Array, heads: Array, combined: bool = False) -> HeadRows:
        """Return the rows of heads, which are sorted by layer; rows are as tall as the page allows."""
        tall = max(_FLATTEST_ROW, min(_TALLEST_ROW, _PAGE_HEIGHT // len(layers)))
        gap = 0 if combined else max(1, round(_LAYER_GAP / tall))
        new_layer = np.concatenate([[False], layers[1:] != layers[:-1]])
        return cls(layers, heads, tall, np.arange(len(layers)) + gap * np.cumsum(new_layer), combined)

    @property
    def height(self) -> int:
        return self.tall * (int(self.rows[-1]) + 1)

    def cells(self, cells: Cells) -> Cells:
        """Return cells [head, column] as cells [row, column], with gaps between layers."""
        shape = (int(self.rows[-1]) + 1, cells.state.shape[1])
        spaced = Cells(np.zeros(shape, np.float32), np.full(shape, GAP, np.uint8))
        spaced.weights[self.rows], spaced.state[self.rows] = cells.weights, cells.state
        return spaced

    def write_labels(self, axes: Axes) -> None:
        """Label each row as layer.head if rows are tall enough, else label the layers."""
        axes.tick_params(axis="y", **TICK_STYLE)
        if self.tall >= _LABEL_HEIGHT and not self.combined:
            rows, title = self.rows, "layer.head"
            texts = [f"{layer}.{head}" for layer, head in zip(self.layers, self.heads, strict=True)]
        else:
            numbers = list(dict.fromkeys(self.layers.tolist()))
            numbers = numbers[:: math.ceil(_LABEL_HEIGHT * len(numbers) / self.height)]
            rows = np.array([self.rows[self.layers == number].mean() for number in numbers])
            texts, title = list(map(str, numbers)), "layer" if self.combined else "layer (a row per head)"
        axes.set_yticks(rows + 0.5, labels=texts, **style(SMALL))
        axes.set_ylabel(title, **style(SUBTITLE))


@dataclass(frozen=True, eq=False)
class RatioPanel:
    """One of the two panels; `unit` labels its colour bar, `extend` is `both` if values may lie beyond its ends."""

    title: str
    cells: Cells
    norm: Normalize
    colours: str
    unit: str
    extend: str

    def draw(self, page: FigureLayout, axes: Axes) -> AxesImage:
        image = draw_cells(axes, self.cells, self.norm, self.colours)
        page.colour_bar(axes, image, self.unit, self.extend)
        axes.set_title(self.title, **style(SUBTITLE, loc="left", pad=9))
        return image


def ratio_panels(
    mass: Array, ratio: Array, state: Array, reach: int, arrange: Callable[[Cells], Cells] = lambda cells: cells
) -> Iterator[RatioPanel]:
    """Yield the panel of `mass`, then the panel of log₂ `ratio` with colours from -`reach` to `reach`.

    Arrays are [row, column]; `state` is the state of each cell. `arrange` puts the cells into the rows of the picture.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        log_ratio = np.clip(np.log2(ratio), -99, 99)
    cells = [arrange(Cells(np.nan_to_num(values).astype(np.float32), state)) for values in (mass, log_ratio)]
    scale = Normalize(0, float(np.nanmax(mass)) or 1.0)
    yield RatioPanel("share of the attention", cells[0], scale, COLOURS, "fraction", "neither")
    scale, unit = Normalize(-reach, reach), "log₂ (share / uniform share)"
    yield RatioPanel("relative to uniform attention", cells[1], scale, DIVERGING, unit, "both")
