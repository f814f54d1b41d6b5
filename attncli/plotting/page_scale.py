"""A page that must have a size in inches: its cells get other sizes, then all lengths in points are multiplied."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.collections import Collection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Annotation

from attncli.plotting.picture_style import current_style

_TICK_LENGTHS = {"length": "major.size", "width": "major.width", "pad": "major.pad", "labelsize": None}
_CLOSE, _MOST_TRIES = 0.06, 4
_SMALLEST_CELLS, _LARGEST_CELLS = 0.2, 3.0


@dataclass
class _Page:
    """The page that is drawn now.

    scale     factor of all lengths in points
    cells     factor of the pixels of the cells of maps
    previous  scale with the cells of the last try
    tries     how often the page was drawn again
    """

    scale: float = 1.0
    cells: float = 1.0
    previous: float = 0.0
    tries: int = 0


_page: ContextVar[_Page | None] = ContextVar("attncli_page", default=None)


def current() -> float:
    """Return the scale of the page that is drawn now."""
    page = _page.get()
    return 1.0 if page is None else page.scale


def cell_size(pixels: float) -> int:
    """Return the pixels of a cell of a map: on a page of a chosen size, cells change before texts do."""
    page = _page.get()
    return max(1, round(pixels * (1.0 if page is None else page.cells)))


def fit(columns: int, rows: int, dpi: float) -> tuple[float, float]:
    """Set the scale of a page of this many pixels for the size that the user chose, before its first text is written.

    Return its margins on the left and at the top, in pixels: the page is in the middle of the size.
    """
    chosen, page = current_style().figsize, _page.get()
    if chosen is None or page is None:
        return 0.0, 0.0
    width, height = (side * dpi for side in chosen)
    page.scale = min(width / columns, height / rows)
    return (width / page.scale - columns) / 2, (height / page.scale - rows) / 2


def needs_other_cells() -> bool:
    """Return whether to draw the page again: with other cells, its texts would be closer to their own size."""
    page = _page.get()
    if page is None or abs(page.scale - 1) < _CLOSE or page.tries == _MOST_TRIES:
        return False
    cells = min(max(page.cells * page.scale, _SMALLEST_CELLS), _LARGEST_CELLS)
    if abs(page.scale - page.previous) < 0.01 or cells == page.cells:
        return False
    page.previous, page.scale, page.cells, page.tries = page.scale, 1.0, cells, page.tries + 1
    return True


@contextmanager
def own_page() -> Iterator[None]:
    """Begin a page, inside the `with` block."""
    token = _page.set(_Page())
    try:
        yield
    finally:
        _page.reset(token)


def finish(figure: Figure, dpi: float) -> Figure:
    """Return the drawn figure with its resolution, and with lines, marks and ticks in the scale of its texts."""
    figure.set_dpi(dpi)
    if (scale := current()) != 1:
        for artist in figure.findobj():
            _scale_artist(artist, scale)
        for axes in figure.axes:
            for axis in (axes.xaxis, axes.yaxis):
                _scale_axis(axis, scale)
    return figure


def _scale_artist(artist: Any, scale: float) -> None:
    """Multiply the lengths of an artist that are in points; texts have theirs already."""
    if isinstance(artist, Line2D):
        artist.set_linewidth(artist.get_linewidth() * scale)
        artist.set_markersize(artist.get_markersize() * scale)
        artist.set_markeredgewidth(artist.get_markeredgewidth() * scale)
    elif isinstance(artist, Patch):
        artist.set_linewidth(artist.get_linewidth() * scale)
    elif isinstance(artist, Collection):
        of_any_kind: Any = artist
        artist.set_linewidth([width * scale for width in of_any_kind.get_linewidths()])
        if hasattr(artist, "set_sizes"):
            of_any_kind.set_sizes(of_any_kind.get_sizes() * scale**2)
    elif isinstance(artist, Annotation):
        left, up = artist.xyann
        artist.xyann = (left * scale, up * scale)


def _scale_axis(axis: Any, scale: float) -> None:
    """Multiply the lengths of the ticks of an axis and the distance of its title."""
    axis.labelpad *= scale
    settings: Any = matplotlib.rcParams
    side = "xtick" if axis.axis_name == "x" else "ytick"
    lengths = {}
    for name, setting in _TICK_LENGTHS.items():
        default = None if setting is None else settings[f"{side}.{setting}"]
        length = axis.get_tick_params().get(name, default)
        if length is not None:
            lengths[name] = length * scale
    axis.set_tick_params(**lengths)
