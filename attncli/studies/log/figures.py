"""Pictures of a series of checkpoints: lines by step, and all heads by step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from attncli.data import Array, Kind, kind_order
from attncli.data.described import counted
from attncli.data.kinds import KNOWN, KindNames
from attncli.data.labels import escape_invisible
from attncli.plotting.axis import join_parts
from attncli.plotting.cells import DRAWN, UNDEFINED, Cells, draw_cells
from attncli.plotting.colours import COLOURS, DIVERGING, palette
from attncli.plotting.layout import BAR_ROOM, EDGE, HeadRows, legend_style
from attncli.plotting.panels import PanelSize, panel_page
from attncli.plotting.text import FAINT, INK, SMALL, SUBTITLE, style, with_fixed_style
from attncli.studies.log.series import LogSeries, first_table
from attncli.studies.patterns.result import CLASSES
from attncli.studies.repeated.result import SCORES

_SIZE = PanelSize(width=256, height=170, left=44, above=30, below=54, right=22)
_LEGEND_ROOM, _LEGEND_ENTRY = 44, 135
_CLASS_LEGEND = 84
_MOST_LAYERS = 8
"""Most layers in the legend of colours."""
_MOST_NAMES, _LONGEST_NAME = 4, 14
_WIDE_HEADS, _NARROW_HEADS, _WIDEST_COLUMN = 286, 216, 26

_LABELS = {"cosine": "cosine of hidden states", "rank_one_distance": "rank one distance of hidden states"}

_STYLES = "thin lines: heads · thick lines: mean over the heads of a layer · dashed: uniform attention"

Units = Mapping[str, tuple[str, tuple[float | None, float | None]]]
"""Unit, least and largest possible value of each number."""


@with_fixed_style
def draw_lines(series: LogSeries, units: Units, *, model: str = "", note: str = "", kinds: KindNames = KNOWN) -> Figure:
    """Return a page with a panel per number: a thin line per head, a thick line per layer, dashed uniform attention.

    The thick line is the mean over the heads of a layer. The last panels are numbers of layers, and how many heads have
    each class. Shares have the same axis from 0 to 1 in all panels.
    """
    names = {
        kind: [name for name in (*series.numbers, *series.layer_numbers) if _is_defined(series, kind, name)]
        for kind in _kinds(series)
    }
    counts = {kind: len(of_kind) + 1 for kind, of_kind in names.items()}
    lines = [model, join_parts(counted(len(series.checkpoints), "checkpoint"), note), _STYLES]
    page, corners = panel_page("heads by step", lines, counts, kinds, _SIZE, (_LEGEND_ROOM, 0))
    axis, colours = StepAxis.of(series), _layer_colours(series)
    for kind, of_kind in names.items():
        for name, (left, top) in zip(of_kind, corners[kind], strict=False):
            axes = page.axes(left, top, _SIZE.width, _SIZE.height)
            _draw_number(axes, series, kind, name, axis, colours)
            axis.finish(axes)
            _limit(axes, *units[name][1])
            axes.set_title(_title(name, units[name][0]), **style(SUBTITLE, loc="left", pad=6))
        left, top = corners[kind][-1]
        axes = page.axes(left, top, _SIZE.width - _CLASS_LEGEND, _SIZE.height)
        _draw_classes(axes, series, kind, axis)
        axis.finish(axes, ticks=3)
        axes.set_title("heads of each class", **style(SUBTITLE, loc="left", pad=6))
    room = max(2, int((page.width - 2 * EDGE) // _LEGEND_ENTRY))
    page.legend(_handles(colours, min(_MOST_LAYERS, room)), EDGE, page.top + 8)
    return page.figure


def _kinds(series: LogSeries) -> list[Kind]:
    return sorted(set(series.snapshots[0].heads["kind"].tolist()), key=kind_order)


def _is_defined(series: LogSeries, kind: Kind, name: str) -> bool:
    layers = name in series.layer_numbers
    of_kind = first_table(series, layers)["kind"] == kind
    return bool(np.isfinite(series.values(name, layers)[:, of_kind]).any())


def _title(name: str, unit: str) -> str:
    label = f"{name} score" if name in SCORES else _LABELS.get(name, name.replace("_", " "))
    return label + (f" ({unit})" if unit not in ("", "1") else "")


def _limit(axes: Axes, least: float | None, largest: float | None) -> None:
    """Give shares the axis from 0 to 1, other numbers from 0 up one that begins there, and the rest a line at 0."""
    if (least, largest) == (0.0, 1.0):
        axes.set_ylim(-0.02, 1.02)
    elif least == 0.0:
        axes.set_ylim(bottom=0)
    elif least is not None:
        axes.axhline(0, color=FAINT, linewidth=0.6)


def _layer_colours(series: LogSeries) -> dict[int, str]:
    """Return the colour of each layer; the last colours are left out, which are hard to see on white."""
    layers = sorted(set(series.snapshots[0].layers["layer"].tolist()))
    return dict(zip(layers, palette(len(layers) + max(1, len(layers) // 8)), strict=False))


def _handles(colours: Mapping[int, str], most: int) -> list[Line2D]:
    """Return the layers of the legend: at most this many, from the first to the last."""
    layers = list(colours)
    chosen = np.unique(np.linspace(0, len(layers) - 1, min(len(layers), most)).round().astype(int)).tolist()
    return [Line2D([], [], color=colours[layers[at]], linewidth=1.8, label=f"layer {layers[at]}") for at in chosen]


def _draw_number(
    axes: Axes, series: LogSeries, kind: Kind, name: str, axis: StepAxis, colours: Mapping[int, str]
) -> None:
    """Draw a number of the heads and layers of a kind."""
    heads, layers = first_table(series), first_table(series, layers=True)
    marker = "o" if len(series.checkpoints) == 1 else ""
    if name not in series.layer_numbers:
        values = series.values(name)
        for row in np.flatnonzero(heads["kind"] == kind).tolist():
            look: Any = {"color": colours[heads["layer"][row]], "linewidth": 0.5, "alpha": 0.6}
            axes.plot(axis.positions, values[:, row], marker=marker, markersize=2, **look)
    values = series.values(name, layers=True)
    of_kind = layers["kind"] == kind
    for row in np.flatnonzero(of_kind).tolist():
        look = {"color": colours[layers["layer"][row]], "linewidth": 1.8}
        axes.plot(axis.positions, values[:, row], marker=marker, markersize=5, **look)
    if f"{name}_uniform" in layers:
        uniform = series.values(f"{name}_uniform", layers=True)[:, of_kind]
        axes.axhline(float(np.nanmean(uniform)), color=FAINT, linewidth=0.8, linestyle="--")


def _draw_classes(axes: Axes, series: LogSeries, kind: Kind, axis: StepAxis) -> None:
    """Draw how many heads of a kind have each class as their strongest."""
    of_kind = first_table(series, layers=True)["kind"] == kind
    counts = {name: series.values(f"{name}_heads", layers=True)[:, of_kind].sum(1) for name in CLASSES}
    occurring = {name: values for name, values in counts.items() if values.any()}
    for (name, values), colour in zip(occurring.items(), palette(len(occurring) + 1), strict=False):
        marker = "o" if len(values) == 1 else ""
        axes.plot(axis.positions, values, color=colour, linewidth=1.4, marker=marker, markersize=4, label=name)
    axes.set_ylim(bottom=0)
    if occurring:
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), handlelength=1.0, **legend_style())


@dataclass(frozen=True)
class StepAxis:
    """Where checkpoints are on the horizontal axis: at their steps, or one after another if steps are unknown."""

    positions: Array
    names: tuple[str, ...]

    @classmethod
    def of(cls, series: LogSeries) -> StepAxis:
        if series.has_steps:
            return cls(series.steps, ())
        return cls(np.arange(len(series.steps)), tuple(escape_invisible(name)[:_LONGEST_NAME] for name in series.names))

    @property
    def title(self) -> str:
        return "checkpoint" if self.names else "step"

    def mark_columns(self, axes: Axes) -> None:
        """Name some of the columns of a map by their checkpoints."""
        count = len(self.positions)
        chosen = np.unique(np.linspace(0, count - 1, min(count, _MOST_NAMES)).round().astype(int))
        names = [self.names[at] if self.names else f"{self.positions[at]:g}" for at in chosen.tolist()]
        axes.set_xticks(chosen + 0.5, names, **style(SMALL))
        axes.tick_params(labelsize=SMALL, colors=INK, width=0.6, length=3)
        axes.set_xlabel(self.title, **style(SUBTITLE))

    def finish(self, axes: Axes, ticks: int = 5) -> None:
        """Give a panel its axes and labels, with at most about this many ticks."""
        axes.set_frame_on(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.yaxis.set_major_locator(MaxNLocator(5))
        if self.names:
            every = -(-len(self.positions) // min(_MOST_NAMES, ticks))
            axes.set_xticks(self.positions[::every], self.names[::every], **style(SMALL))
        else:
            axes.xaxis.set_major_locator(MaxNLocator(ticks, integer=True))
        axes.set_xlabel(self.title, **style(SUBTITLE))
        axes.tick_params(labelsize=SMALL, colors=INK, width=0.6, length=3)


@with_fixed_style
def draw_heads(series: LogSeries, units: Units, *, model: str = "", note: str = "", kinds: KindNames = KNOWN) -> Figure:
    """Return a page with a panel per number: rows are heads, columns are checkpoints.

    Shares have the same colours in all panels; the title of another panel names the ends of its scale.
    """
    names = {kind: [name for name in series.numbers if _is_defined(series, kind, name)] for kind in _kinds(series)}
    heads, count = first_table(series), len(series.checkpoints)
    rows = {kind: HeadRows.of(*_of_kind(heads, kind)) for kind in names}
    wide = min(_WIDEST_COLUMN, max(1, _WIDE_HEADS // count))
    width = max(_NARROW_HEADS, wide * count)
    size = PanelSize(width, max(of_kind.height for of_kind in rows.values()), 10, 30, 52, 26, start=52)
    lines = [model, join_parts(counted(count, "checkpoint"), note)]
    counts = {kind: len(of_kind) for kind, of_kind in names.items()}
    page, corners = panel_page("all heads by step", lines, counts, kinds, size, (0, 0), BAR_ROOM)
    axis, image = StepAxis.of(series), None
    for kind, of_kind in names.items():
        for name, (left, top) in zip(of_kind, corners[kind], strict=True):
            axes = page.axes(left, top, width, rows[kind].height)
            values = series.values(name)[:, heads["kind"] == kind].T
            unit, ends = units[name]
            is_share = ends == (0.0, 1.0)
            low, high = (0.0, 1.0) if is_share else _ends(values, ends[0])
            state = np.where(np.isfinite(values), DRAWN, UNDEFINED).astype(np.uint8)
            cells = rows[kind].cells(Cells(np.nan_to_num(values).astype(np.float32), state))
            drawn = draw_cells(axes, cells, Normalize(low, high), DIVERGING if low < 0 else COLOURS)
            own = "" if is_share else f", {low:.2g} to {high:.2g} {'' if unit == '1' else unit}"
            axes.set_title(f"{_title(name, '')}{own}".rstrip(), **style(SUBTITLE, loc="left", pad=6))
            axis.mark_columns(axes)
            if left == corners[kind][0][0]:
                rows[kind].write_labels(axes)
            image = drawn if is_share and image is None else image
    if image is not None:
        first = next(iter(corners.values()))
        page.colour_bar(page.axes(max(left for left, _ in first), first[0][1], width, size.height), image, "share (1)")
    return page.figure


def _of_kind(heads: Mapping[str, Array], kind: Kind) -> tuple[Array, Array]:
    of_kind = heads["kind"] == kind
    return heads["layer"][of_kind], heads["head"][of_kind]


def _ends(values: Array, least: float | None) -> tuple[float, float]:
    """Return the ends of a scale for these values: from 0 on, or with 0 in the middle if they may be negative."""
    reach = float(np.nanmax(np.abs(values))) or 1.0
    return (0.0 if least == 0.0 else -reach), reach
