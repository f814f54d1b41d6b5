"""A figure laid out in pixels from its top left corner, so that cells are whole pixels and nothing overlaps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.text import Text

from attncli.data.labels import escape_invisible
from attncli.plotting.text import DPI, FAINT, INK, SMALL, SUBTITLE, TITLE, fonts, measure, shorten_middle, style

EDGE = 24
BAR_WIDTH, BAR_ROOM = 18, 150
_WIDEST_HEADER = 1200
_SHORTEST_BAR, _LONGEST_BAR = 100, 800


@dataclass(frozen=True)
class Header:
    """The title of a figure and the lines below it."""

    title: str
    lines: tuple[str, ...]

    @classmethod
    def of(cls, title: str, *lines: str) -> Header:
        """Return the header with those of the lines that are not empty."""
        return cls(title, tuple(filter(None, lines)))

    @property
    def width(self) -> float:
        """The pixels that it needs; a header far wider than a usual figure is shortened instead."""
        widest_line = measure(list(map(escape_invisible, self.lines)), SUBTITLE)[0]
        return min(max(measure([self.title], TITLE, "bold")[0], widest_line) + 4, _WIDEST_HEADER) + 2 * EDGE

    @property
    def height(self) -> int:
        """Pixels from the top of the figure to what follows the header."""
        return 60 + 20 * len(self.lines)


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
        figure = Figure(figsize=(columns / DPI, rows / DPI), dpi=DPI, facecolor="white")
        FigureCanvasAgg(figure)
        page = cls(figure, columns, rows)
        room = page.width - 2 * EDGE
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
