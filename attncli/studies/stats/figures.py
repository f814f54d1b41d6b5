"""Pictures of `stats`: what each key receives, attention by distance, and the spread of the heads of each layer."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import AutoLocator, MaxNLocator

from attncli.data import (
    Array,
    Kind,
    Profile,
    Received,
    Scores,
    Statistics,
    TokenWindow,
    has_scale,
)
from attncli.data.kinds import KNOWN, KindNames
from attncli.data.labels import label_with_position, labels
from attncli.errors import UsageError
from attncli.plotting.axis import (
    draw_key_ticks,
    fit_axis_title,
    fit_labels,
    join_parts,
    position_labels,
    position_title,
)
from attncli.plotting.cells import DECADES, DRAWN, HATCHED, INVISIBLE, UNDEFINED, Cells, draw_cells
from attncli.plotting.colours import masked_colour
from attncli.plotting.layout import BAR_ROOM, EDGE, FigureLayout, Header, HeadRows
from attncli.plotting.overview import kinds_of, select_scores, title_of, unit_label
from attncli.plotting.panels import PanelSize, panel_page
from attncli.plotting.ratio import ratio_panels
from attncli.plotting.text import FAINT, SMALL, SUBTITLE, measure, style, with_fixed_style
from attncli.vocabulary import SINK_THRESHOLD

_LEFT = 76
_WIDTH, _WIDEST_COLUMN = 1300, 26
_MOST_ROWS = 450
_BELOW, _LEADER, _LOWEST = 62, 24, 230
_SINK_COLOUR = "#ff3b30"
_NAME_STEP = 16
_NAME_LENGTH = 16
_DISTANCE_COLUMN = 34
_ABOVE_DISTANCES, _BELOW_DISTANCES, _LOWEST_DISTANCES = 30, 80, 210
_REACH = 4
"""Doublings at which the colours of the ratio end."""
_SPREAD_PANEL: Any = {"height": 170, "left": 78, "above": 42, "below": 62, "right": 24}
_WIDEST_SPREAD = 560  # two panels side by side
_MEDIAN, _POINT = "#440154", "#31688e"
_MIDDLE_HALF = {"linewidth": 5, "alpha": 0.25}
_MOST_LABELS = 16


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
def draw_received(
    received: Received, *, model: str = "", note: str = "", kinds: KindNames = KNOWN, threshold: float = SINK_THRESHOLD
) -> Figure:
    """Return the picture of received attention: which keys receive attention from all queries?

    Rows are heads, layer by layer; in very large models they are layers, each with the largest of its heads. Columns
    are keys. A column of several keys shows the largest. Sinks, which receive at least `threshold`, have a dot, and
    their token above the picture. Keys that fewer than `received.min_rows` queries can see are hatched.
    """
    rows, cells, sinks = _rows(received, threshold)
    keys = _keys(received, sinks)
    above = _LEADER + measure([name for _, name in keys.sinks], SMALL)[0] if keys.sinks else 6
    key_labels = fit_labels(keys.names, keys.wide)
    if key_labels.step > 1 or keys.pool > 1:  # not every key has a label
        key_labels = position_labels(TokenWindow(0, keys.count - 1), keys.wide / keys.pool, keys.wide)
    below = _BELOW + (0 if key_labels.horizontal else key_labels.width)
    pooled = f"each column is the largest of {keys.pool} keys" if keys.pool > 1 else ""
    title = join_parts(kinds.title(received.kind), "attention received by each key")
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
    key = kinds.axes(received.kind)[1]
    numbers = "key number" if has_scale(received.kind) else position_title(key)
    axes.set_xlabel(fit_axis_title(key if key_labels.are_tokens else numbers, keys.width), **style(SUBTITLE))
    _draw_sinks(axes, rows, sinks, keys)
    page.legend(_legend(cells, sinks, threshold, int(received.min_rows.max(initial=0))), EDGE, page.height - 30)
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
    """Return ascending places moved until they are `apart` and none is beyond `end`."""
    steps = np.arange(len(places)) * apart
    moved: Array = np.maximum.accumulate(places - steps).clip(max=end - (len(places) - 1) * apart) + steps
    return moved


def _legend(cells: Cells, sinks: Array, threshold: float, min_rows: int) -> list[Artist]:
    handles: list[Artist] = []
    if sinks.any():
        words = f"sink: receives at least {threshold:g}"
        handles.append(Line2D([], [], marker="o", linestyle="none", markersize=4, color=_SINK_COLOUR, label=words))
    if (cells.state == UNDEFINED).any():
        words = f"visible to fewer than {min_rows} queries"
        handles.append(Patch(**HATCHED, label=words))
    return handles


@with_fixed_style
def draw_distances(
    profile: Profile, kind: Kind, *, model: str = "", note: str = "", kinds: KindNames = KNOWN
) -> Figure:
    """Return the picture of attention by distance: how far does each head attend, and is that more than chance?

    Rows are heads, layer by layer; columns are distances |i-j|, each column twice as wide as the one before. Left: the
    share of the attention at each distance. Right: how many times the share of uniform attention that is, in
    doublings. Raises UsageError where no distance of this kind was measured.
    """
    mass, uniform = (profile.distance[name].sel(kind=kind) for name in ("mass", "uniform_mass"))
    if not len(mass.values):
        raise UsageError(f"there is nothing to draw: no distance of kind '{kind}' was measured")
    rows = HeadRows.of(mass.coords["layer"][1], mass.coords["head"][1])
    ends = zip(*(mass.coords[name][1].tolist() for name in ("from", "to")), strict=True)
    names = [str(near) if near == far else f"{near}-{far}" for near, far in ends]
    labels = fit_labels(names, _DISTANCE_COLUMN, with_positions=False, largest=SMALL)
    header = Header.of(join_parts(kinds.title(kind), "attention by distance"), model, note)
    width = mass.values.shape[1] * _DISTANCE_COLUMN
    step = _LEFT + width + BAR_ROOM
    bottom = header.height + _ABOVE_DISTANCES + max(rows.height + labels.width, _LOWEST_DISTANCES) + _BELOW_DISTANCES
    page = FigureLayout.blank(2 * EDGE + 2 * step, bottom, header)
    state = np.where(np.isfinite(mass.values), DRAWN, INVISIBLE).astype(np.uint8)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = mass.values / uniform.values
    for number, panel in enumerate(ratio_panels(mass.values, ratio, state, _REACH, rows.cells)):
        axes = page.axes(EDGE + number * step + _LEFT, header.height + _ABOVE_DISTANCES, width, rows.height)
        panel.draw(page, axes)
        rows.write_labels(axes)
        draw_key_ticks(axes, labels)
        axes.set_xlabel(fit_axis_title("distance to the key (tokens)", width), **style(SUBTITLE))
    if (state == INVISIBLE).any():
        page.legend([Patch(facecolor=masked_colour(), label="no visible key at this distance")], EDGE, page.height - 30)
    return page.figure


@with_fixed_style
def draw_spread(
    statistics: Statistics,
    *,
    model: str = "",
    note: str = "",
    kinds: KindNames = KNOWN,
    metrics: Sequence[str] | None = None,
    labels: Mapping[str, str] | None = None,
) -> Figure:
    """Return a page with one panel per metric: do the heads of a layer agree, and how does that change with depth?

    Layers go from left to right; each head is a point, the line joins the medians of the layers, the bar behind it is
    the middle half of the heads. Undefined heads have no point. Raises UsageError where no metric has a value.

    metrics  names of the metrics; by default the main ones
    labels   by metric: its name for a reader; by default its name with spaces
    """
    shown = select_scores(statistics, metrics)
    blocks = {kind: tables for kind in kinds_of(shown) if (tables := _tables(kind, shown))}
    if not blocks:
        raise UsageError("there is nothing to draw: no metric has a value for any head")
    layers = max(len(np.unique(table["layer"])) for tables in blocks.values() for table in tables.values())
    size = PanelSize(min(max(220, 26 * layers), _WIDEST_SPREAD), **_SPREAD_PANEL)
    counts = {kind: len(tables) for kind, tables in blocks.items()}
    page, corners = panel_page("heads by layer: each, median, middle half", [model, note], counts, kinds, size)
    for kind, tables in blocks.items():
        for (name, table), corner in zip(tables.items(), corners[kind], strict=True):
            axes = page.axes(*corner, size.width, size.height)
            _draw_panel(axes, title_of(name, labels or {}), table, shown[name])
    return page.figure


def _tables(kind: Kind, shown: Mapping[str, Scores]) -> dict[str, dict[str, Array]]:
    """Return for each metric with a value in this kind the columns `layer` and `value`, with a row per head."""
    tables = {}
    for name, scores in shown.items():
        scores_of_kind = scores.sel(kind=kind)
        known = np.isfinite(scores_of_kind.values)
        if known.any():
            tables[name] = {"layer": scores_of_kind.coords["layer"][1][known], "value": scores_of_kind.values[known]}
    return tables


def _draw_panel(axes: Axes, title: str, table: Mapping[str, Array], scores: Scores) -> None:
    import seaborn  # type: ignore[import-untyped]  # takes seconds to load

    layers = np.unique(table["layer"]).tolist()
    common = {"data": table, "x": "layer", "y": "value", "order": layers, "ax": axes}
    axes.xaxis.set_major_locator(AutoLocator())  # seaborn counts ticks, and the axes of a page have none
    look = {"color": _MEDIAN, "markersize": 4, "linewidth": 1.2, "err_kws": _MIDDLE_HALF}
    seaborn.pointplot(**common, estimator="median", errorbar=("pi", 50), **look)
    # no random jitter: the same run gives the same picture
    seaborn.stripplot(**common, color=_POINT, size=3, alpha=0.75, jitter=False)
    axes.set_title(title, **style(SUBTITLE, loc="left", pad=9))
    axes.set_xlabel("layer", **style(SUBTITLE))
    axes.set_ylabel(unit_label(scores), visible=True, **style(SUBTITLE))
    every = -(-len(layers) // _MOST_LABELS)
    axes.set_xticks(range(0, len(layers), every), labels=[str(layer) for layer in layers[::every]], **style(SMALL))
    axes.set_xlim(-0.5, len(layers) - 0.5)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.tick_params(labelsize=SMALL, length=3, width=0.6, color=FAINT)
    axes.grid(axis="y", color="#eeeeee", linewidth=0.6)
    axes.set_axisbelow(True)
