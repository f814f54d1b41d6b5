"""A figure laid out in pixels from its top left corner, so cells are whole pixels and nothing overlaps."""

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
from attncli.plotting.text import DPI, FAINT, INK, SMALL, SUBTITLE, TITLE, fit, fonts, measure, style

EDGE = 24
BAR_WIDTH, BAR_ROOM = 18, 150
_LONGEST = 1200
_LEAST_BAR, _MOST_BAR = 100, 800


def header_size(title: str, lines: Sequence[str]) -> tuple[float, float]:
    """Width and height in pixels that a header needs; what is far wider than a usual page will be shortened."""
    wide = max(measure([title], TITLE, "bold")[0], measure(list(map(escape_invisible, lines)), SUBTITLE)[0])
    return min(wide + 4, _LONGEST) + 2 * EDGE, 60 + 20 * len(lines)


@dataclass(frozen=True)
class FigureLayout:
    """A blank figure of `width` x `height` pixels at `DPI`, and how to put things on it."""

    figure: Figure
    width: int
    height: int

    @classmethod
    def blank(cls, width: float, height: float) -> FigureLayout:
        """A white page; it never touches pyplot, so nothing piles up and no window opens."""
        columns, rows = round(width), round(height)
        figure = Figure(figsize=(columns / DPI, rows / DPI), dpi=DPI, facecolor="white")
        FigureCanvasAgg(figure)
        return cls(figure, columns, rows)

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """Axes without frame and ticks."""
        down = self.height - top - height
        place = (left / self.width, down / self.height, width / self.width, height / self.height)
        axes = self.figure.add_axes(place)
        axes.set_frame_on(False)
        axes.set(xticks=[], yticks=[])
        return axes

    def write(self, left: float, top: float, text: str, size: float, color: str = INK, **more: Any) -> Text:
        """A text whose top left corner (or what `ha`, `va` say) is there."""
        look = {"ha": "left", "va": "top", **more}
        return self.figure.text(left / self.width, 1 - top / self.height, text, **style(size, color, **look))

    def header(self, title: str, lines: Sequence[str]) -> None:
        """The title and the lines below it, shortened where the page is too narrow."""
        room = self.width - 2 * EDGE
        self.write(EDGE, 16, fit(title, TITLE, room, "bold"), TITLE, weight="bold", gid="title")
        for number, line in enumerate(lines):
            self.write(EDGE, 44 + 20 * number, fit(escape_invisible(line), SUBTITLE, room), SUBTITLE, FAINT)

    def bar_beside(
        self, main: Axes, colours: ScalarMappable, label: str, extend: str = "neither", *, apart: float = 0
    ) -> Axes:
        """A colour bar on the right of the main axes, from their top down, long enough for its label.

        apart  pixels of space beyond the usual
        """
        box = main.get_position()
        beside = box.height * self.height
        if measure([label], SUBTITLE)[0] > max(beside, _LEAST_BAR):
            label = label.replace(" (", "\n(")
        height = min(max(beside, _LEAST_BAR, measure(label.split("\n"), SUBTITLE)[0]), _MOST_BAR)
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
        """One line that says what cells without a colour mean."""
        if handles:
            place: dict[str, Any] = {
                "loc": "upper left",
                "bbox_to_anchor": (left / self.width, 1 - top / self.height),
                "ncols": len(handles),
                "borderpad": 0,
                "borderaxespad": 0,
            }
            look: dict[str, Any] = {
                "prop": {"family": list(fonts()), "size": SMALL},
                "labelcolor": INK,
                "frameon": False,
            }
            for text in self.figure.legend(handles=handles, **place, **look).get_texts():
                text.set_parse_math(False)
