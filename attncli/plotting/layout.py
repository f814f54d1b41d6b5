"""Figures laid out in pixels from the top left corner, so that cells are whole pixels and nothing overlaps.

Studies share heads as rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.text import Text

from attncli.data import Array
from attncli.data.labels import escape_invisible
from attncli.plotting import page_scale
from attncli.plotting.axis import PART_MARK, TICK_STYLE
from attncli.plotting.cells import GAP, Cells
from attncli.plotting.picture_style import current_style
from attncli.plotting.render import ShownFigure
from attncli.plotting.text import (
    DPI,
    FAINT,
    INK,
    SMALL,
    SUBTITLE,
    TITLE,
    fonts,
    measure,
    shorten_middle,
    style,
    title_weight,
)

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
        """Return the header with those of the lines that are not empty; lines that are too wide are wrapped.

        The title that the user chose replaces that of the picture.
        """
        chosen = current_style().title
        title = title if chosen is None else chosen and escape_invisible(chosen)
        return cls(title, tuple(part for line in lines if line for part in _wrapped(line)))

    @property
    def width(self) -> float:
        """The pixels that it needs; a header far wider than a usual figure is shortened instead."""
        widest_line = measure(list(map(escape_invisible, self.lines)), SUBTITLE)[0]
        title = measure([self.title], TITLE, title_weight(self.title))[0]
        return min(max(title, widest_line) + 4, _WIDEST_HEADER) + 2 * EDGE

    @property
    def height(self) -> int:
        """Pixels from the top of the figure to what follows the header."""
        return self.lines_top + 16 + 20 * len(self.lines)

    @property
    def lines_top(self) -> int:
        """Pixels from the top of the figure to the lines below the title."""
        return 44 if self.title else 16


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
    """A figure of `width` x `height` pixels at `DPI`, and the ways to put things on it; `top` is below its header.

    margin  pixels on the left and at the top that a page has in addition because the user chose its proportions
    """

    figure: Figure
    width: int
    height: int
    margin: tuple[float, float] = (0.0, 0.0)
    top: int = 0

    @classmethod
    def blank(cls, width: float, height: float, header: Header, *, widen: bool = True) -> FigureLayout:
        """Return a white figure with a header; pyplot is not used, so that no window opens.

        widen  make the figure wide enough for its header, which is shortened otherwise
        """
        columns, rows = round(max(width, header.width) if widen else width), round(height)
        margin = page_scale.fit(columns, rows, DPI)
        dpi = DPI / page_scale.current()
        size = (columns + 2 * margin[0]) / dpi, (rows + 2 * margin[1]) / dpi
        figure = ShownFigure(figsize=size, dpi=dpi, facecolor="white")
        FigureCanvasAgg(figure)
        page, room = cls(figure, columns, rows, margin, header.height), columns - 2 * EDGE
        weight = title_weight(header.title)
        title = shorten_middle(header.title, TITLE, room, weight)
        page.write(EDGE, 16, title, TITLE, weight=weight, gid="title")
        for number, line in enumerate(header.lines):
            text = shorten_middle(escape_invisible(line), SUBTITLE, room)
            page.write(EDGE, header.lines_top + 20 * number, text, SUBTITLE, FAINT)
        return page

    def _point(self, left: float, top: float) -> tuple[float, float]:
        """Return a place as fractions of the page from its lower left corner."""
        (across, down), width, height = self.margin, self.width, self.height
        return (left + across) / (width + 2 * across), 1 - (top + down) / (height + 2 * down)

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """Return new axes without frame and ticks at this place."""
        (x0, y0), (x1, y1) = self._point(left, top + height), self._point(left + width, top)
        axes = self.figure.add_axes((x0, y0, x1 - x0, y1 - y0))
        axes.set_frame_on(False)
        axes.set(xticks=[], yticks=[])
        return axes

    def write(self, left: float, top: float, text: str, size: float, color: str = INK, **more: object) -> Text:
        """Write a text with its top left corner, or what `ha` and `va` name, at this place."""
        look = {"ha": "left", "va": "top", **more}
        return self.figure.text(*self._point(left, top), text, **style(size, color, **look))

    def colour_bar(
        self, main: Axes, colours: ScalarMappable, label: str, extend: str = "neither", *, apart: float = 0
    ) -> Axes:
        """Draw a colour bar on the right of the main axes and return its axes; it is long enough for its label.

        apart  pixels of additional space between the main axes and the bar
        """
        box = main.get_position()
        (across, down), (width, height) = self.margin, (self.width, self.height)
        right, top = box.x1 * (width + 2 * across) - across, (1 - box.y1) * (height + 2 * down) - down
        main_height = box.height * (height + 2 * down)
        if measure([label], SUBTITLE)[0] > max(main_height, _SHORTEST_BAR):
            label = label.replace(" (", "\n(")
        bar_height = min(max(main_height, _SHORTEST_BAR, measure(label.split("\n"), SUBTITLE)[0]), _LONGEST_BAR)
        axes = self.axes(right + BAR_WIDTH + apart, top, BAR_WIDTH, bar_height)
        axes.set_frame_on(True)
        bar = self.figure.colorbar(colours, cax=axes, extend=extend)
        bar.outline.set_visible(False)
        if isinstance(colours.norm, LogNorm):
            bar.ax.yaxis.set_major_formatter("{x:g}")
            bar.ax.yaxis.set_minor_formatter("")
        bar.set_label(label, **style(SUBTITLE))
        bar.ax.tick_params(labelsize=SMALL, colors=INK, width=0.6, length=3)
        return bar.ax

    def ruler(self, top: float, scale: float, longest: float) -> None:
        """Draw a ruler at the left edge: a round distance up to `longest`, in a map of `scale` pixels per unit."""
        distance = min(0.1, 10.0 ** math.floor(math.log10(longest)))
        axes = self.axes(EDGE, top, distance * scale, 6)
        axes.set(xlim=(0, 1), ylim=(0, 1))
        axes.plot([0, 0, 1, 1], [1, 0, 0, 1], color=FAINT, linewidth=1, clip_on=False)
        self.write(EDGE + distance * scale + 8, top + 3, f"a distance of {distance:g}", SMALL, FAINT, va="center")

    def legend(self, handles: Sequence[Artist], left: float, top: float) -> None:
        """Draw the handles with their labels as one line; nothing without handles."""
        if not handles:
            return
        legend = self.figure.legend(
            handles=handles,
            loc="upper left",
            bbox_to_anchor=self._point(left, top),
            ncols=len(handles),
            borderpad=0,
            borderaxespad=0,
            **legend_style(),
        )
        for text in legend.get_texts():
            text.set_parse_math(False)


def legend_style() -> dict[str, Any]:
    """Return the keyword arguments that give every legend the same look."""
    size = SMALL * page_scale.current()
    return {"prop": {"family": list(fonts()), "size": size}, "labelcolor": INK, "frameon": False}


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
