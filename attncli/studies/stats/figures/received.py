"""Where attention goes over a whole text: for every head what each key receives, with the sinks named."""

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

from attncli.data import MIN_QUERIES, SINK_THRESHOLD, Array, Received, TokenWindow
from attncli.data.labels import label_with_position, labels
from attncli.plotting.axis import (
    KEY,
    KEY_AT,
    KIND_WORDS,
    AxisTokens,
    draw_key_ticks,
    fitted,
    joined,
    positions,
    side_of,
)
from attncli.plotting.cells import DRAWN, HATCH, HATCH_INK, UNDEFINED, Cells, paint
from attncli.plotting.colour_scale import DECADES
from attncli.plotting.head_rows import HeadRows
from attncli.plotting.layout import BAR_ROOM, EDGE, FigureLayout, header_size
from attncli.plotting.text import FAINT, SMALL, SUBTITLE, measure, style
from attncli.plotting.theme import own_style

_WIDTH, _WIDEST = 1300, 26
_MOST_ROWS = 450
_LEFT, _BELOW, _LEADER, _LEAST = 76, 62, 24, 230
_MARK = "#ff3b30"
_APART = 16
_NAME = 16


@dataclass(frozen=True)
class _Keys:
    """The keys as columns: `pool` of them in one, `wide` pixels each; the label of each and the names of sinks."""

    count: int
    pool: int
    wide: int
    shown: list[str]
    names: list[tuple[int, str]]

    @property
    def width(self) -> int:
        return math.ceil(self.count / self.pool) * self.wide


@own_style
def draw(received: Received, *, model: str = "", note: str = "", threshold: float = SINK_THRESHOLD) -> Figure:
    """Which keys draw attention from everywhere?

    Rows are heads, layer by layer (in very large models layers, each as the largest of its heads), columns are keys.
    Where a column stands for several keys it shows the largest, so that no stripe is lost. Sinks, which receive at
    least `threshold`, bear a dot, and their token above. Keys that fewer than 5 tokens see are hatched.
    """
    rows, cells, sinks = _rows(received, threshold)
    keys = _keys(received, sinks)
    above = _LEADER + measure([name for _, name in keys.names], SMALL)[0] if keys.names else 6
    side = _side(keys)
    below = _BELOW + (0 if side.flat else side.width)
    pooled = f"each column is the largest of {keys.pool} keys" if keys.pool > 1 else ""
    title = f"{KIND_WORDS[received.kind]} · what each key receives"
    lines = [line for line in (model, joined(note, pooled)) if line]
    least, top = header_size(title, lines)
    width = max(2 * EDGE + _LEFT + keys.width + BAR_ROOM, least)
    page = FigureLayout.blank(width, top + above + max(rows.height + below, _LEAST) + 30)
    page.header(title, lines)
    axes = page.axes(EDGE + _LEFT, top + above, keys.width, rows.height)
    norm = _norm(cells.drawn)
    image = paint(axes, rows.cells(cells.pooled(1, keys.pool)), norm)
    beyond = "min" if (cells.drawn < norm.vmin).any() else "neither"
    page.bar_beside(axes, image, "received (fraction, log scale)", beyond)
    rows.put_labels(axes)
    draw_key_ticks(axes, side)
    axes.set_xlabel(fitted(KEY if side.tokens else KEY_AT, keys.width), **style(SUBTITLE))
    _put_sinks(axes, rows, sinks, keys)
    page.legend(_legend(cells, sinks, threshold), EDGE, page.height - 30)
    return page.figure


def _rows(received: Received, threshold: float) -> tuple[HeadRows, Cells, Array]:
    """The rows, their cells [row, key], and which of those are sinks."""
    state = np.where(received.reliable, DRAWN, UNDEFINED).astype(np.uint8)
    cells = Cells(np.where(received.reliable, received.values, 0).astype(np.float32), state)
    sinks = received.sinks(threshold)
    if len(received.heads) <= _MOST_ROWS:
        return HeadRows.of(received.layers, received.heads), cells, sinks
    layers, starts = np.unique(received.layers, return_index=True)
    combined = Cells(np.maximum.reduceat(cells.weights, starts), np.maximum.reduceat(state, starts))
    return HeadRows.of(layers, layers, combined=True), combined, np.logical_or.reduceat(sinks, starts)


def _norm(drawn: Array) -> LogNorm:
    """From the smallest to the largest, but no less than one decade and no more than the usual."""
    positive = drawn[drawn > 0]
    high = float(positive.max(initial=0)) or 1.0
    low = min(max(float(positive.min(initial=high)), high / 10**DECADES), high / 10)
    return LogNorm(low, high, clip=True)


def _keys(received: Received, sinks: Array) -> _Keys:
    count, shown = len(received.keys), labels(received.keys, _NAME)
    pool = math.ceil(count / _WIDTH)
    wide = max(1, min(_WIDEST, _WIDTH // math.ceil(count / pool)))
    votes = sinks.sum(0)
    room = max(1, math.ceil(count / pool) * wide // _APART)
    most = sorted(np.flatnonzero(votes), key=lambda key: -votes[key])[:room]
    return _Keys(
        count, pool, wide, shown, [(int(key), label_with_position(shown[key], int(key))) for key in sorted(most)]
    )


def _side(keys: _Keys) -> AxisTokens:
    """The label of every key where all fit, else round positions."""
    side = side_of(keys.shown, keys.wide)
    if side.step == 1 and keys.pool == 1:
        return side
    return positions(TokenWindow(0, keys.count - 1), keys.wide / keys.pool, keys.wide)


def _put_sinks(axes: Axes, rows: HeadRows, sinks: Array, keys: _Keys) -> None:
    """A dot on each sink; above the picture its token, moved aside where names would touch, with a line to it."""
    axes.autoscale(False)
    row, key = np.nonzero(sinks)
    size = min(4.0, rows.tall * 0.45)
    place = ((key // keys.pool) + 0.5, rows.at[row] + 0.5)
    axes.plot(*place, "o", markersize=size, color=_MARK, markeredgecolor="white", markeredgewidth=0.3)
    columns = np.array([at // keys.pool + 0.5 for at, _ in keys.names])
    apart = _APART / keys.wide
    for (_, name), column, aside in zip(
        keys.names, columns, _spread(columns, apart, keys.width / keys.wide), strict=True
    ):
        line = Line2D([column, aside], [0, -(_LEADER - 6) / rows.tall], color=FAINT, linewidth=0.5, clip_on=False)
        axes.add_line(line)
        axes.text(aside, -(_LEADER - 4) / rows.tall, name, **style(SMALL, rotation=90, ha="center", va="bottom"))


def _spread(places: Array, apart: float, end: float) -> Array:
    """Ascending places moved so that they are `apart`, as little as a pass from each side can do."""
    moved = places.astype(float)
    for at in range(1, len(moved)):
        moved[at] = max(moved[at], moved[at - 1] + apart)
    limit = end
    for at in range(len(moved) - 1, -1, -1):
        moved[at] = min(moved[at], limit)
        limit = moved[at] - apart
    return moved


def _legend(cells: Cells, sinks: Array, threshold: float) -> list[Artist]:
    handles: list[Artist] = []
    if sinks.any():
        words = f"sink: receives at least {threshold:g}"
        handles.append(Line2D([], [], marker="o", linestyle="none", markersize=4, color=_MARK, label=words))
    if (cells.state == UNDEFINED).any():
        words = f"seen by fewer than {MIN_QUERIES} tokens"
        handles.append(Patch(facecolor="white", edgecolor=HATCH_INK, hatch=HATCH, linewidth=0, label=words))
    return handles
