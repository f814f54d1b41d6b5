"""The scale of a page that must have a size in inches: its layout stays, and all lengths in points are multiplied."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import matplotlib
from matplotlib.collections import Collection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Annotation

from attncli.plotting.picture_style import current_style

_scale: ContextVar[float] = ContextVar("attncli_page_scale", default=1.0)
_TICK_LENGTHS = {"length": "major.size", "width": "major.width", "pad": "major.pad", "labelsize": None}


def current() -> float:
    """Return the scale of the page that is drawn now."""
    return _scale.get()


def fit(columns: int, rows: int, dpi: float) -> tuple[float, float]:
    """Set the scale of a page of this many pixels for the size that the user chose, before its first text is written.

    Return its margins on the left and at the top, in pixels: the page is in the middle of the size.
    """
    chosen = current_style().figsize
    if chosen is None:
        return 0.0, 0.0
    width, height = (side * dpi for side in chosen)
    scale = min(width / columns, height / rows)
    _scale.set(scale)
    return (width / scale - columns) / 2, (height / scale - rows) / 2


@contextmanager
def own_page() -> Iterator[None]:
    """Begin a page of its own size, inside the `with` block."""
    token = _scale.set(1.0)
    try:
        yield
    finally:
        _scale.reset(token)


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
