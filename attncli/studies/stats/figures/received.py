"""The attention that each key receives from each head over a whole text, with the names of sinks."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from attncli.data import MIN_QUERIES, Array, Received, TokenWindow
from attncli.data.labels import label_with_position, labels
from attncli.plotting.axis import (
    KEY,
    KEY_POSITION,
    KIND_WORDS,
    AxisLabels,
    draw_key_ticks,
    fit_axis_title,
    fit_labels,
    join_parts,
    position_labels,
)
from attncli.plotting.cells import DECADES, DRAWN, HATCHED, UNDEFINED, Cells, draw_cells
from attncli.plotting.layout import BAR_ROOM, EDGE, FigureLayout, Header, HeadRows
from attncli.plotting.text import FAINT, SMALL, SUBTITLE, measure, style, with_fixed_style
from attncli.vocabulary import SINK_THRESHOLD

_WIDTH, _WIDEST_COLUMN = 1300, 26
_MOST_ROWS = 450
_LEFT, _BELOW, _LEADER, _LOWEST = 76, 62, 24, 230
_SINK_COLOUR = "#ff3b30"
_NAME_STEP = 16
_NAME_LENGTH = 16


@dataclass(frozen=True)
class _Keys:
    """The keys as columns of `wide` pixels that pool `pool` keys each.

    names  label of each key
    sinks  (key, label with its position) of the sinks that are named above the picture
    """

    count: int
    pool: int
    wide: int
    names: list[str]
    sinks: list[tuple[int, str]]

    @property
    def width(self) -> int:
        """The pixels of all columns."""
        return math.ceil(self.count / self.pool) * self.wide


@with_fixed_style
def draw(received: Received, *, model: str = "", note: str = "", threshold: float = SINK_THRESHOLD) -> Figure:
    """Return the picture of received attention: which keys receive attention from all queries?

    Rows are heads, layer by layer; in very large models they are layers, each with the largest of its heads. Columns
    are keys. A column of several keys shows the largest. Sinks, which receive at least `threshold`, have a dot, and
    their token above the picture. Keys that fewer than 5 queries can see are hatched.
    """
    rows, cells, sinks = _rows(received, threshold)
    keys = _keys(received, sinks)
    above = _LEADER + measure([name for _, name in keys.sinks], SMALL)[0] if keys.sinks else 6
    key_labels = _key_labels(keys)
    below = _BELOW + (0 if key_labels.horizontal else key_labels.width)
    pooled = f"each column is the largest of {keys.pool} keys" if keys.pool > 1 else ""
    title = f"{KIND_WORDS[received.kind]} · attention received by each key"
    header = Header.of(title, model, join_parts(note, pooled))
    bottom = header.height + above + max(rows.height + below, _LOWEST) + 30
    page = FigureLayout.blank(2 * EDGE + _LEFT + keys.width + BAR_ROOM, bottom, header)
    axes = page.axes(EDGE + _LEFT, header.height + above, keys.width, rows.height)
    norm = _norm(cells.drawn)
    image = draw_cells(axes, rows.cells(cells.pooled(1, keys.pool)), norm)
    extend = "min" if (cells.drawn < norm.vmin).any() else "neither"
    page.colour_bar(axes, image, "received (fraction, log scale)", extend)
    rows.write_labels(axes)
    draw_key_ticks(axes, key_labels)
    axes.set_xlabel(fit_axis_title(KEY if key_labels.are_tokens else KEY_POSITION, keys.width), **style(SUBTITLE))
    _draw_sinks(axes, rows, sinks, keys)
    page.legend(_legend(cells, sinks, threshold), EDGE, page.height - 30)
    return page.figure


def _rows(received: Received, threshold: float) -> tuple[HeadRows, Cells, Array]:
    """Return the rows, their cells [row, key], and which of the cells are sinks."""
    state = np.where(received.reliable, DRAWN, UNDEFINED).astype(np.uint8)
    cells = Cells(np.where(received.reliable, received.values, 0).astype(np.float32), state)
    sinks = received.sinks(threshold)
    if len(received.heads) <= _MOST_ROWS:
        return HeadRows.of(received.layers, received.heads), cells, sinks
    layers, starts = np.unique(received.layers, return_index=True)
    combined = Cells(np.maximum.reduceat(cells.weights, starts), np.maximum.reduceat(state, starts))
    return HeadRows.of(layers, layers, combined=True), combined, np.logical_or.reduceat(sinks, starts)


def _norm(drawn: Array) -> LogNorm:
    """Return a scale from the smallest to the largest value, of at least one decade and at most `DECADES`."""
    positive = drawn[drawn > 0]
    high = float(positive.max(initial=0)) or 1.0
    low = min(max(float(positive.min(initial=high)), high / 10**DECADES), high / 10)
    return LogNorm(low, high, clip=True)


def _keys(received: Received, sinks: Array) -> _Keys:
    count, names = len(received.keys), labels(received.keys, _NAME_LENGTH)
    pool = math.ceil(count / _WIDTH)
    wide = max(1, min(_WIDEST_COLUMN, _WIDTH // math.ceil(count / pool)))
    heads = sinks.sum(0)
    room = max(1, math.ceil(count / pool) * wide // _NAME_STEP)
    most = sorted(np.flatnonzero(heads), key=lambda key: -heads[key])[:room]
    named = [(int(key), label_with_position(names[key], int(key))) for key in sorted(most)]
    return _Keys(count, pool, wide, names, named)


def _key_labels(keys: _Keys) -> AxisLabels:
    """Return the label of every key where all fit, else round positions."""
    tokens = fit_labels(keys.names, keys.wide)
    if tokens.step == 1 and keys.pool == 1:
        return tokens
    return position_labels(TokenWindow(0, keys.count - 1), keys.wide / keys.pool, keys.wide)


def _draw_sinks(axes: Axes, rows: HeadRows, sinks: Array, keys: _Keys) -> None:
    """Draw a dot on each sink and write its token above the picture, moved aside where names would overlap."""
    axes.autoscale(False)
    row, key = np.nonzero(sinks)
    size = min(4.0, rows.tall * 0.45)
    dots = ((key // keys.pool) + 0.5, rows.rows[row] + 0.5)
    axes.plot(*dots, "o", markersize=size, color=_SINK_COLOUR, markeredgecolor="white", markeredgewidth=0.3)
    columns = np.array([key // keys.pool + 0.5 for key, _ in keys.sinks])
    name_columns = _spread(columns, _NAME_STEP / keys.wide, keys.width / keys.wide)
    for (_, name), column, name_column in zip(keys.sinks, columns, name_columns, strict=True):
        ends = [column, name_column], [0, -(_LEADER - 6) / rows.tall]
        axes.add_line(Line2D(*ends, color=FAINT, linewidth=0.5, clip_on=False))
        look = style(SMALL, rotation=90, ha="center", va="bottom")
        axes.text(name_column, -(_LEADER - 4) / rows.tall, name, **look)


def _spread(places: Array, apart: float, end: float) -> Array:
    """Return ascending places moved until they are `apart`, by one pass from each side; none is beyond `end`."""
    moved = places.astype(float)
    for n in range(1, len(moved)):
        moved[n] = max(moved[n], moved[n - 1] + apart)
    limit = end
    for n in range(len(moved) - 1, -1, -1):
        moved[n] = min(moved[n], limit)
        limit = moved[n] - apart
    return moved


def _legend(cells: Cells, sinks: Array, threshold: float) -> list[Artist]:
    handles: list[Artist] = []
    if sinks.any():
        words = f"sink: receives at least {threshold:g}"
        handles.append(Line2D([], [], marker="o", linestyle="none", markersize=4, color=_SINK_COLOUR, label=words))
    if (cells.state == UNDEFINED).any():
        handles.append(Patch(**HATCHED, label=f"visible to fewer than {MIN_QUERIES} queries"))
    return handles
