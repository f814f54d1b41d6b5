"""All heads by numbers: for each main metric a map of layers x heads; metrics of one unit share a colour bar."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from attncli.data import Array, Kind, Scores, Statistics, kind_order
from attncli.data.grouped_heads import GroupedHeads
from attncli.data.kinds import KNOWN, KindNames
from attncli.errors import UsageError, did_you_mean
from attncli.plotting.axis import BRACKET_NOTE, draw_layer_head_axes, join_parts
from attncli.plotting.cells import DRAWN, GAP, UNDEFINED, Cells, draw_cells, missing_legend, write_values
from attncli.plotting.colours import COLOURS, DIVERGING, colour_map
from attncli.plotting.layout import EDGE, FigureLayout
from attncli.plotting.panels import WIDEST_PAGE, PanelSize, panel_page
from attncli.plotting.text import DPI, FAINT, INK, SMALL, SUBTITLE, measure, style, with_fixed_style

MAIN = (
    *("entropy_normalized", "confidence", "distance", "distance_ratio"),
    *("self_mass", "previous_mass", "next_mass", "local_mass"),
    *("first_mass", "special_mass", "sink", "diagonal", "alignment_distance"),
)
_WRITE_VALUES_UP_TO = (12, 8)
_START, _BETWEEN, _ABOVE, _BELOW = 60, 30, 42, 54
_NUMBER = 16
"""Pixels for the number of a head."""
_TALLEST_PANEL, _SMALLEST_CELL, _LOWEST_CELL, _LARGEST_CELL = 330, 3, 10, 30
_VALUE_HEIGHT, _VALUE_WIDTHS = 32, (48, 64)
_BAR_WIDTH, _BAR_HEIGHT, _BAR_STEP, _BAR_ROW = 240, 12, 290, 72
_LEGEND_ROOM, _APART = 40, 6
_PAD = 9  # points from the cells to the title


@dataclass(frozen=True)
class _Scale:
    """A colour scale that the panels of one unit share.

    unit, label  unit of the values, and the label of the colour bar
    low, high    ends of the colours
    lowest       smallest possible value, where the colour bar begins; None for `low`
    """

    unit: str
    label: str
    low: float
    high: float
    colours: str
    lowest: float | None

    @property
    def norm(self) -> Normalize:
        return Normalize(self.low, self.high)

    def draw_bar(self, page: FigureLayout, left: float, top: float) -> None:
        """Draw the colour bar with its label above."""
        page.write(left, top, self.label, SUBTITLE)
        axes = page.axes(left, top + 20, _BAR_WIDTH, _BAR_HEIGHT)
        axes.set_frame_on(True)
        colours = ScalarMappable(self.norm, colour_map(self.colours))
        bar = page.figure.colorbar(colours, cax=axes, orientation="horizontal")
        bar.outline.set_visible(False)
        bar.ax.set_gid(f"scale: {self.label}")
        bar.ax.tick_params(labelsize=SMALL, colors=INK, width=0.6, length=3)
        if self.lowest is not None:
            bar.ax.set_xlim(max(self.low, self.lowest), self.high)
        _space_ticks(bar.ax)


def _space_ticks(bar: Axes) -> None:
    """Leave ticks out of a colour bar until their numbers stand apart."""
    for most in range(len(bar.get_xticks()), 1, -1):
        texts = [label.get_text() for label in bar.get_xticklabels()]
        if sum(measure([text], SMALL)[0] + _APART for text in texts) <= _BAR_WIDTH:
            return
        bar.xaxis.set_major_locator(MaxNLocator(most - 1))


@dataclass(frozen=True, eq=False)
class _Panel:
    """One metric of one kind: values [layer, head] as cells, with the scale that it shares with others."""

    title: str
    cells: Cells
    layers: list[str]
    heads: list[str]
    scale: _Scale
    shared: list[tuple[int, int]]

    def draw(self, axes: Axes, cell: tuple[int, int], first_of_row: bool, lowest: bool) -> None:
        """Draw the cells, the title, and the labels of the axes that no panel on the left or below has too."""
        image = draw_cells(axes, self.cells, self.scale.norm, self.scale.colours)
        axes.set_title(self.title, **style(SUBTITLE, loc="left", pad=_PAD))
        draw_layer_head_axes(axes, self.layers, self.heads, cell, self.shared)
        if not first_of_row:
            axes.set_yticks([])
            axes.set_ylabel("")
        if not lowest:
            axes.set_xlabel("")
        if cell[1] >= _VALUE_WIDTHS[0]:
            write_values(axes, self.cells, image)


@with_fixed_style
def draw(
    statistics: Statistics,
    *,
    model: str = "",
    texts: Sequence[str] = (),
    note: str = "",
    kinds: KindNames = KNOWN,
    metrics: Sequence[str] | None = None,
    labels: Mapping[str, str] | None = None,
    neutral: Mapping[str, float] | None = None,
    changes: Collection[str] = (),
    top: float | None = None,
) -> Figure:
    """Return a page with one panel per metric: which heads stand out, and in what?

    Rows are layers, columns are heads; undefined is hatched. Metrics of the same unit have the same colour scale, in
    every kind of attention, and share a colour bar. Values are written into the cells where there are few. Raises
    UsageError where no metric has a value.

    texts    lines about the texts, between `model` and `note`
    metrics  names of the metrics; by default the main ones
    labels   by metric: its name for a reader; by default its name with spaces
    neutral  by metric: the value in the middle of a colour scale of two colours
    changes  metrics whose values are changes, with 0 in the middle of a colour scale of two colours
    top      top of the colour scales; by default the largest value of each unit
    """
    shown = select_scores(statistics, metrics)
    scales = _scales(shown, labels or {}, neutral or {}, changes, top)
    blocks = {
        kind: panels
        for kind in kinds_of(shown)
        if (panels := _panels(kind, shown, labels or {}, scales, kinds.grouped))
    }
    if not blocks:
        raise UsageError("there is nothing to draw: no metric has a value for any head")
    every_panel = [panel for panels in blocks.values() for panel in panels]
    bars = list(dict.fromkeys(panel.scale for panel in every_panel))
    legend = missing_legend(np.concatenate([panel.cells.state.ravel() for panel in every_panel]))
    cell, size = _sizes(every_panel, with_units=len(bars) > 1)
    counts = {kind: len(panels) for kind, panels in blocks.items()}
    columns = size.columns(max(counts.values()))
    bars_in_row = max(1, int(size.start + columns * (size.width + size.right)) // _BAR_STEP)
    room = (_BAR_ROW * -(-len(bars) // bars_in_row), _LEGEND_ROOM if legend else 10)
    brackets = BRACKET_NOTE if any(panel.shared for panel in every_panel) else ""
    lines = [model, *texts, join_parts(note, brackets)]
    page, corners = panel_page("layers x heads", lines, counts, kinds, size, room)
    for number, scale in enumerate(bars):
        row, column = divmod(number, bars_in_row)
        scale.draw_bar(page, EDGE + 8 + column * _BAR_STEP, page.top + row * _BAR_ROW)
    for kind, panels in blocks.items():
        for number, (panel, corner) in enumerate(zip(panels, corners[kind], strict=True)):
            first_of_row, lowest = number % columns == 0, number + columns >= len(panels)
            rows, heads = panel.cells.state.shape
            axes = page.axes(*corner, heads * cell[1], rows * cell[0])
            panel.draw(axes, cell, first_of_row, lowest)
            if len(bars) > 1:
                look: dict[str, Any] = {"ha": "right", "va": "baseline"}
                page.write(corner[0] + size.width, corner[1] - _PAD * DPI / 72, panel.scale.unit, SMALL, FAINT, **look)
    page.legend(legend, EDGE, page.height - 30)
    return page.figure


def select_scores(statistics: Statistics, metrics: Sequence[str] | None = None) -> dict[str, Scores]:
    """Return the named metrics, by default the main ones that were measured; raise UsageError for an unknown name."""
    for name in metrics or ():
        if name not in statistics.heads:
            raise UsageError(f"unknown metric '{name}': {did_you_mean(name, statistics.heads)}")
    names = metrics or [name for name in MAIN if name in statistics.heads] or list(statistics.heads)
    return {name: statistics.heads[name] for name in names}


def kinds_of(shown: Mapping[str, Scores]) -> list[Kind]:
    """Return the kinds of the heads that were measured, in order."""
    return sorted({kind for scores in shown.values() for kind in scores.coords["kind"][1].tolist()}, key=kind_order)


def title_of(name: str, labels: Mapping[str, str]) -> str:
    """Return what a picture calls a metric: its label, or its name with spaces."""
    return labels.get(name) or name.replace("_", " ")


def unit_label(scores: Scores) -> str:
    """Return the unit in words for an axis: a share of the attention is a fraction."""
    if scores.unit != "1":
        return scores.unit
    return "fraction" if scores.range == (0, 1) else "ratio"


def _panels(
    kind: Kind,
    shown: Mapping[str, Scores],
    labels: Mapping[str, str],
    scales: Mapping[str, _Scale],
    grouped: GroupedHeads,
) -> list[_Panel]:
    """Return the panels of a kind, without those of metrics that have no value in it."""
    panels = []
    for name, all_scores in shown.items():
        scores = all_scores.sel(kind=kind)
        layers, rows = np.unique(scores.coords["layer"][1], return_inverse=True)
        heads, columns = np.unique(scores.coords["head"][1], return_inverse=True)
        shape = (len(layers), len(heads))
        cells = Cells(np.zeros(shape, np.float32), np.full(shape, GAP, np.uint8))
        known = np.isfinite(scores.values)
        cells.weights[rows, columns] = np.where(known, scores.values, 0)
        cells.state[rows, columns] = np.where(known, DRAWN, UNDEFINED)
        if known.any():
            names = list(map(str, layers)), list(map(str, heads))
            shared = grouped.groups(kind, layers.tolist(), heads.tolist())
            panels.append(_Panel(title_of(name, labels), cells, *names, scales[name], shared))
    return panels


def _scales(
    shown: Mapping[str, Scores],
    labels: Mapping[str, str],
    neutral: Mapping[str, float],
    changes: Collection[str],
    top: float | None,
) -> dict[str, _Scale]:
    """Return the colour scale of each metric, the same one for metrics of the same unit and middle.

    The labels of scales that share a unit name their metrics.
    """
    groups: dict[tuple[str, float | None, bool], list[str]] = {}
    for name, scores in shown.items():
        middle = 0.0 if name in changes else neutral.get(name)
        groups.setdefault((unit_label(scores), middle, name in changes), []).append(name)
    scales: dict[str, _Scale] = {}
    for (unit, middle, is_change), names in groups.items():
        label = f"change ({unit})" if is_change else unit
        if sum((other, changed) == (unit, is_change) for other, _, changed in groups) > 1:  # bars of different colours
            label += f": {', '.join(title_of(name, labels) for name in names[:2])}{', …' * (len(names) > 2)}"
        lowest = None if is_change else _smallest([shown[name].range[0] for name in names])
        values = np.concatenate([shown[name].values.ravel() for name in names])
        scale = _scale(unit, label, values[np.isfinite(values)], lowest, middle, top)
        scales |= dict.fromkeys(names, scale)
    return scales


def _smallest(ends: Iterable[float | None]) -> float | None:
    """Return the smallest of the smallest possible values; None if one is not known."""
    ends = list(ends)
    return None if None in ends else min(end for end in ends if end is not None)


def _scale(
    unit: str, label: str, known: Array, lowest: float | None, middle: float | None, top: float | None
) -> _Scale:
    """Return a scale from the smallest possible value to the top, or symmetric around the middle."""
    if middle is not None:
        reach = float(np.abs(known - middle).max(initial=0)) or 1.0
        return _Scale(unit, label, middle - reach, middle + reach, DIVERGING, lowest)
    low = lowest if lowest is not None else float(known.min(initial=np.inf))
    high = float(known.max(initial=-np.inf)) if top is None else top
    return _Scale(unit, label, low, high if high > low else low + 1, COLOURS, None)


def _sizes(panels: Sequence[_Panel], *, with_units: bool) -> tuple[tuple[int, int], PanelSize]:
    """Return (height, width) of a cell, and the size of a panel; four panels fit side by side if cells allow."""
    layers, heads = (max(panel.cells.state.shape[axis] for panel in panels) for axis in (0, 1))
    titles = [measure([panel.title], SUBTITLE)[0] for panel in panels]
    units = [measure([panel.scale.unit], SMALL)[0] + 14 if with_units else 0 for panel in panels]
    needed = max(title + unit for title, unit in zip(titles, units, strict=True))
    if layers <= _WRITE_VALUES_UP_TO[0] and heads <= _WRITE_VALUES_UP_TO[1]:
        cell = (_VALUE_HEIGHT, max(_VALUE_WIDTHS[0], min(_VALUE_WIDTHS[1], int(needed // heads))))
    else:
        room = (WIDEST_PAGE - 2 * EDGE - _START) // 4 - _BETWEEN
        tall = max(_SMALLEST_CELL, min(_LARGEST_CELL, _TALLEST_PANEL // layers))
        wide = max(_SMALLEST_CELL, min(_LARGEST_CELL, room // heads, 2 * tall))
        cell = (min(tall, max(wide, _LOWEST_CELL)), wide)
    width = max(heads * cell[1], needed)
    # combined heads have a word instead of a number, which is written upwards
    words = [name for panel in panels for name in panel.heads if not name.isdigit()]
    below = _BELOW + max(0, measure(words, SMALL)[0] - _NUMBER) if words else _BELOW
    return cell, PanelSize(width, layers * cell[0], 0, _ABOVE, int(below), _BETWEEN, _START)
