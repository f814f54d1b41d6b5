"""Marks where parts of a long text begin: segments of a pair or chat, or paragraphs, as thin lines with names."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from attncli.data import Attention, Tokens
from attncli.data.labels import escape_invisible
from attncli.inputs.partitions import BLANK_LINE
from attncli.plotting.colours import line_colour
from attncli.plotting.text import FAINT, SMALL, measure, shorten_middle, style

LONG = 256
"""Tokens per side up to which the token labels of a whole text are enough."""
NAME_ROOM = 20  # pixels for the names above and on the right of a map
_SMALLEST_PART, _SMALLEST_IN_PANEL = 14, 40


@dataclass(frozen=True)
class MarkedPart:
    """A part of a text along one side of a map: its first and last edge in cells, and its name."""

    first: float
    last: float
    name: str


Parts = tuple[MarkedPart, ...]


def text_parts(
    attention: Attention, sizes: tuple[float, float], factors: tuple[int, int], *, segments_only: bool = False
) -> tuple[Parts, Parts]:
    """Return the parts of the queries and of the keys of a long text or a window; none where lines would be crowded.

    sizes          pixels of a cell of the picture, down and across
    factors        cells of the maps that one cell of the picture pools, down and across
    segments_only  leave out paragraphs and show fewer lines, for the small panels of a page
    """
    if attention.whole and max(len(attention.queries), len(attention.keys)) <= LONG:
        return (), ()
    rows, columns = (cell * factor for cell, factor in zip(attention.cell, factors, strict=True))
    query_parts = _side_parts(attention.queries, rows, sizes[0], segments_only)
    return query_parts, _side_parts(attention.keys, columns, sizes[1], segments_only)


def _side_parts(tokens: Tokens, cell: int, size: float, segments_only: bool) -> Parts:
    """Return the parts of one side, of which a cell of `size` pixels covers `cell` tokens."""
    starts = segment_starts(tokens)
    if len(starts) < 2 and not segments_only:  # paragraphs ¶1, ¶2, …, divided by blank lines
        in_text = np.flatnonzero(tokens.offsets[:, 0] >= 0)
        ends = [0, *(match.end() for match in BLANK_LINE.finditer(tokens.text.rstrip()))]
        after = np.searchsorted(tokens.offsets[in_text, 0], ends)
        numbered = {int(in_text[at]) if at else 0: f"¶{n}" for n, at in enumerate(after, start=1) if at < len(in_text)}
        starts = sorted(numbered.items())
    smallest = _SMALLEST_IN_PANEL if segments_only else _SMALLEST_PART
    if len(starts) < 2 or len(tokens) / cell * size / len(starts) < smallest:
        return ()
    ends = [*(start for start, _ in starts[1:]), len(tokens)]
    return tuple(MarkedPart(start / cell, end / cell, name) for (start, name), end in zip(starts, ends, strict=True))


def segment_starts(tokens: Tokens) -> list[tuple[int, str]]:
    """Return the first token and the name of each segment; a token of no segment belongs to the one before it."""
    starts: list[tuple[int, str]] = []
    for position, name in enumerate(tokens.segments):
        if name and (not starts or starts[-1][1] != name):
            starts.append((position, name))
    return starts


def draw_part_lines(
    axes: Axes, parts: tuple[Parts, Parts], origin: tuple[float, float], size: tuple[float, float]
) -> None:
    """Draw a line at the start of each part but the first, over the map of `size` cells whose first is at `origin`."""
    look: dict[str, Any] = {"colors": line_colour(), "linewidth": 0.7, "alpha": 0.5, "zorder": 2}
    (top, left), (rows, columns) = origin, size
    if query_starts := [top + part.first for part in parts[0][1:]]:
        axes.hlines(query_starts, left, left + columns, **look)
    if key_starts := [left + part.first for part in parts[1][1:]]:
        axes.vlines(key_starts, top, top + rows, **look)


def write_part_names(
    axes: Axes, parts: tuple[Parts, Parts], sizes: tuple[float, float], shape: tuple[int, int]
) -> None:
    """Write the names of parts that are long enough: of queries on the right of the map, of keys above it."""
    height, width = sizes
    for middle, name in _fitting_names(parts[0], height):
        axes.text(shape[1] + 4 / width, middle, name, **style(SMALL, FAINT, ha="left", va="center", rotation=270))
    for middle, name in _fitting_names(parts[1], width):
        axes.text(middle, -4 / height, name, **style(SMALL, FAINT, ha="center", va="bottom"))


def _fitting_names(parts: Parts, size: float) -> Iterator[tuple[float, str]]:
    """Yield the middle and the name, perhaps shortened, of each part where it fits along cells of `size` pixels."""
    for part in parts:
        room = (part.last - part.first) * size - 6
        name = shorten_middle(escape_invisible(part.name), SMALL, room)
        if measure([name], SMALL)[0] <= room:
            yield (part.first + part.last) / 2, name
