"""Where parts of a long text begin: segments of a pair or chat, paragraphs; thin lines, named at the map's edge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from attncli.data import Attention, Tokens
from attncli.data.labels import escape_invisible
from attncli.inputs.partitions import BLANK_LINE
from attncli.plotting.text import FAINT, SMALL, fit, measure, style

LONG = 256
"""Tokens a side up to which labels tell enough of a whole text."""
ROOM = 20
_LEAST_PIXELS, _LEAST_IN_PANEL = 14, 40


@dataclass(frozen=True)
class MarkedPart:
    """A part of a text along one side of a map: where it begins and ends, in cells, and what it is called."""

    first: float
    last: float
    name: str


Parts = tuple[MarkedPart, ...]


def parts_of(
    attention: Attention, sizes: tuple[float, float], factors: tuple[int, int], *, segments_only: bool = False
) -> tuple[Parts, Parts]:
    """The parts of the queries and of the keys of a long text or of a window; none where lines would crowd.

    sizes          pixels of a cell of the picture, down and across
    factors        how many cells of the maps it joins
    segments_only  no paragraphs, and fewer lines, as a panel of a page is small
    """
    if attention.whole and max(len(attention.queries), len(attention.keys)) <= LONG:
        return (), ()
    rows, columns = (
        _parts(tokens, cell * factor, size, segments_only)
        for tokens, cell, factor, size in zip(
            (attention.queries, attention.keys), attention.cell, factors, sizes, strict=True
        )
    )
    return rows, columns


def _parts(tokens: Tokens, cell: int, size: float, segments_only: bool) -> Parts:
    starts = segment_starts(tokens)
    if len(starts) < 2 and not segments_only:
        starts = _paragraph_starts(tokens)
    least = _LEAST_IN_PANEL if segments_only else _LEAST_PIXELS
    if len(starts) < 2 or len(tokens) / cell * size / len(starts) < least:
        return ()
    ends = [*(at for at, _ in starts[1:]), len(tokens)]
    return tuple(MarkedPart(at / cell, end / cell, name) for (at, name), end in zip(starts, ends, strict=True))


def segment_starts(tokens: Tokens) -> list[tuple[int, str]]:
    """Where each segment begins, and its name; tokens of no segment belong to the one before them."""
    starts: list[tuple[int, str]] = []
    for at, name in enumerate(tokens.segments):
        if name and (not starts or starts[-1][1] != name):
            starts.append((at, name))
    return starts


def _paragraph_starts(tokens: Tokens) -> list[tuple[int, str]]:
    """Where each paragraph begins, by the blank lines of the text, and its number in it."""
    placed = np.flatnonzero(tokens.offsets[:, 0] >= 0)
    ends = [0, *(found.end() for found in BLANK_LINE.finditer(tokens.text.rstrip()))]
    after = np.searchsorted(tokens.offsets[placed, 0], ends)
    numbered = {int(placed[at]) if at else 0: f"¶{n}" for n, at in enumerate(after, start=1) if at < len(placed)}
    return sorted(numbered.items())


def draw_lines(axes: Axes, parts: tuple[Parts, Parts], origin: tuple[float, float], size: tuple[float, float]) -> None:
    """A line where each part but the first begins, over the map of this `size` whose first cell is at `origin`."""
    look: dict[str, Any] = {"colors": "white", "linewidth": 0.7, "alpha": 0.5, "zorder": 2}
    (top, left), (rows, columns) = origin, size
    if down := [top + part.first for part in parts[0][1:]]:
        axes.hlines(down, left, left + columns, **look)
    if across := [left + part.first for part in parts[1][1:]]:
        axes.vlines(across, top, top + rows, **look)


def write_names(axes: Axes, parts: tuple[Parts, Parts], sizes: tuple[float, float], shape: tuple[int, int]) -> None:
    """The names of parts that are long enough: of queries on the right, of keys on top."""
    tall, wide = sizes
    for part, name in _named(parts[0], tall):
        look = style(SMALL, FAINT, ha="left", va="center", rotation=270)
        axes.text(shape[1] + 4 / wide, (part.first + part.last) / 2, name, **look)
    for part, name in _named(parts[1], wide):
        axes.text((part.first + part.last) / 2, -4 / tall, name, **style(SMALL, FAINT, ha="center", va="bottom"))


def _named(parts: Sequence[MarkedPart], size: float) -> list[tuple[MarkedPart, str]]:
    found = []
    for part in parts:
        room = (part.last - part.first) * size - 6
        name = escape_invisible(part.name)
        if measure([name], SMALL)[0] > room and len(name) > 8:
            name = fit(name, SMALL, room)
        if measure([name], SMALL)[0] <= room:
            found.append((part, name))
    return found
