"""All heads by numbers: for each main metric a map of layers x heads, with its unit and its own colour bar."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from attncli.data import Array, Kind, Scores, Statistics, kind_order
from attncli.data.kinds import KNOWN, KindNames
from attncli.errors import UsageError, did_you_mean
from attncli.plotting.axis import draw_layer_head_axes
from attncli.plotting.cells import DRAWN, GAP, UNDEFINED, Cells, draw_cells, missing_legend, write_values
from attncli.plotting.colours import COLOURS, DIVERGING
from attncli.plotting.layout import BAR_ROOM, EDGE, FigureLayout, PanelSize, panel_page
from attncli.plotting.text import SUBTITLE, style, with_fixed_style

MAIN = (
    *("entropy_normalized", "confidence", "distance", "distance_ratio"),
    *("self_mass", "previous_mass", "next_mass", "local_mass"),
    *("first_mass", "special_mass", "sink", "diagonal", "alignment_distance"),
)
_WRITE_VALUES_UP_TO = (12, 8)
_LEFT, _ABOVE, _BELOW = 60, 42, 62


@dataclass(frozen=True)
class _Panel:
    """One metric of one kind: values [layer, head] as cells, with the scale that it shares with other kinds."""

    name: str
    scores: Scores
    cells: Cells
    layers: list[str]
    heads: list[str]
    norm: Normalize
    colours: str


@with_fixed_style
def draw(
    statistics: Statistics,
    *,
    model: str = "",
    note: str = "",
    kinds: KindNames = KNOWN,
    metrics: Sequence[str] | None = None,
    neutral: Mapping[str, float] | None = None,
    top: float | None = None,
) -> Figure:
    """Return a page with one panel per metric: which heads stand out, and in what?

    Rows are layers, columns are heads; undefined is hatched. A metric has the same colour scale in every kind of
    attention. Values are written into the cells where there are few. Raises UsageError where no metric has a value.

    metrics  names of the metrics; by default the main ones
    neutral  by metric: the value in the middle of a colour scale of two colours
    top      top of the colour scales; by default the largest value of each metric
    """
    shown = select_scores(statistics, metrics)
    blocks = {kind: panels for kind in kinds_of(shown) if (panels := _panels(kind, shown, neutral or {}, top))}
    if not blocks:
        raise UsageError("there is nothing to draw: no metric has a value for any head")
    shapes = [panel.cells.state.shape for panels in blocks.values() for panel in panels]
    layers, heads = (max(shape[axis] for shape in shapes) for axis in (0, 1))
    small = layers <= _WRITE_VALUES_UP_TO[0] and heads <= _WRITE_VALUES_UP_TO[1]
    side = max(4, min(30, 330 // max(layers, heads)))
    cell = (32, 48) if small else (side, side)
    size = PanelSize(heads * cell[1], max(layers * cell[0], 110), _LEFT, _ABOVE, _BELOW, BAR_ROOM)
    counts = {kind: len(panels) for kind, panels in blocks.items()}
    page, corners = panel_page("layers x heads", [model, note], counts, kinds, size, below=40)
    for kind, panels in blocks.items():
        for panel, corner in zip(panels, corners[kind], strict=True):
            _draw_panel(page, panel, corner, cell, small)
    states = [panel.cells.state.ravel() for panels in blocks.values() for panel in panels]
    page.legend(missing_legend(np.concatenate(states)), EDGE, page.height - 30)
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


def _panels(kind: Kind, shown: Mapping[str, Scores], neutral: Mapping[str, float], top: float | None) -> list[_Panel]:
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
        scale = _scale(all_scores, neutral.get(name), top)
        if known.any():
            panels.append(_Panel(name, scores, cells, list(map(str, layers)), list(map(str, heads)), *scale))
    return panels


def unit_label(scores: Scores) -> str:
    """Return the unit in words for an axis: a share of the attention is a fraction."""
    if scores.unit != "1":
        return scores.unit
    return "fraction" if scores.range == (0, 1) else "ratio"


def _scale(scores: Scores, neutral: float | None, top: float | None) -> tuple[Normalize, str]:
    """Return the colour scale: from the smallest possible value to the top, or symmetric around `neutral`."""
    known: Array = scores.values[np.isfinite(scores.values)]
    if neutral is not None:
        reach = float(np.abs(known - neutral).max(initial=0)) or 1.0
        return Normalize(neutral - reach, neutral + reach), DIVERGING
    low = scores.range[0] if scores.range[0] is not None else float(known.min(initial=np.inf))
    high = float(known.max(initial=-np.inf)) if top is None else top
    return Normalize(low, high if high > low else low + 1), COLOURS


def _draw_panel(
    page: FigureLayout, panel: _Panel, corner: tuple[float, float], cell: tuple[int, int], with_values: bool
) -> None:
    rows, columns = panel.cells.state.shape
    axes = page.axes(*corner, columns * cell[1], rows * cell[0])
    image = draw_cells(axes, panel.cells, panel.norm, panel.colours)
    axes.set_title(panel.name, **style(SUBTITLE, loc="left", pad=9))
    draw_layer_head_axes(axes, panel.layers, panel.heads, cell)
    if with_values:
        write_values(axes, panel.cells, image)
    bar = page.colour_bar(axes, image, unit_label(panel.scores))
    (lowest, _), low = panel.scores.range, panel.norm.vmin
    if lowest is not None and low is not None and low < lowest:
        bar.set_ylim(lowest, panel.norm.vmax)
