"""All heads by numbers: for each main metric a map of layers x heads, with its unit and its own colour bar."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from attncli.data import KINDS, Array, Kind, Scores, Statistics
from attncli.errors import UsageError, did_you_mean
from attncli.plotting.axis import KIND_WORDS, draw_ticks, side_of
from attncli.plotting.cells import COLOURS, DRAWN, GAP, UNDEFINED, Cells, legend, paint, write_values
from attncli.plotting.layout import BAR_ROOM, EDGE, FigureLayout, header_size
from attncli.plotting.text import SMALL, SUBTITLE, style
from attncli.plotting.theme import own_style

MAIN = (
    *("entropy_normalized", "confidence", "distance", "distance_ratio"),
    *("self_mass", "previous_mass", "next_mass", "local_mass"),
    *("first_mass", "special_mass", "sink", "diagonal", "alignment_distance"),
)
DIVERGING = "RdBu_r"
_ACROSS = 4
_WRITE_UP_TO = (12, 8)
_LEFT, _ABOVE, _BELOW, _HEADING = 60, 42, 62, 36


@dataclass(frozen=True)
class _Panel:
    """One metric of one kind: values [layer, head] as cells, with the scale that it shares with other kinds."""

    name: str
    unit: str
    range: tuple[float | None, float | None]
    cells: Cells
    layers: Sequence[str]
    heads: Sequence[str]
    norm: Normalize
    colours: str


@own_style
def draw(
    statistics: Statistics,
    *,
    model: str = "",
    note: str = "",
    metrics: Sequence[str] | None = None,
    neutral: Mapping[str, float] | None = None,
    top: float | None = None,
) -> Figure:
    """Which heads stand out, and in what?

    One panel per metric: rows are layers, columns are heads. A metric has the same colour scale in every kind of
    attention. Metrics named in `neutral` have a scale of two colours with that value in the middle. Values are
    written into the cells where there are few; hatched is undefined. `metrics` are by default the main ones, and the
    `top` of a scale is the largest value found.
    """
    wanted = main_scores(statistics, metrics)
    blocks = {kind: _panels(kind, wanted, neutral or {}, top) for kind in KINDS}
    blocks = {kind: panels for kind, panels in blocks.items() if panels}
    if not blocks:
        raise UsageError("there is nothing to draw: no metric has a value for any head")
    lines = [line for line in (model, note) if line]
    return _compose(blocks, lines)


def main_scores(statistics: Statistics, metrics: Sequence[str] | None = None) -> dict[str, Scores]:
    """The metrics named, by default the main ones of those that were measured; an unknown one is a `UsageError`."""
    for name in metrics or ():
        if name not in statistics.heads:
            raise UsageError(f"unknown metric '{name}': {did_you_mean(name, statistics.heads)}")
    names = metrics or [name for name in MAIN if name in statistics.heads] or list(statistics.heads)
    return {name: statistics.heads[name] for name in names}


def _panels(kind: Kind, wanted: Mapping[str, Scores], neutral: Mapping[str, float], top: float | None) -> list[_Panel]:
    panels = []
    for name, scores in wanted.items():
        here = scores.sel(kind=kind)
        if np.isfinite(here.values).any():
            panels.append(_panel(name, here, *_scale(scores, neutral.get(name), top)))
    return panels


def _panel(name: str, scores: Scores, norm: Normalize, colours: str) -> _Panel:
    layers, at_layer = np.unique(scores.coords["layer"][1], return_inverse=True)
    heads, at_head = np.unique(scores.coords["head"][1], return_inverse=True)
    values = np.zeros((len(layers), len(heads)), np.float32)
    state = np.full(values.shape, GAP, np.uint8)
    known = np.isfinite(scores.values)
    values[at_layer, at_head] = np.where(known, scores.values, 0)
    state[at_layer, at_head] = np.where(known, DRAWN, UNDEFINED)
    return _Panel(
        name,
        unit_of(scores),
        scores.range,
        Cells(values, state),
        list(map(str, layers)),
        list(map(str, heads)),
        norm,
        colours,
    )


def unit_of(scores: Scores) -> str:
    """The unit in words for an axis: a share of the attention is a fraction."""
    if scores.unit != "1":
        return scores.unit
    return "fraction" if scores.range == (0, 1) else "ratio"


def _scale(scores: Scores, neutral: float | None, top: float | None) -> tuple[Normalize, str]:
    """From the smallest possible value, where there is one, to `top` or the largest found; around `neutral` evenly."""
    known: Array = scores.values[np.isfinite(scores.values)]
    if neutral is not None:
        reach = float(np.abs(known - neutral).max(initial=0)) or 1.0
        return Normalize(neutral - reach, neutral + reach), DIVERGING
    low = scores.range[0] if scores.range[0] is not None else float(known.min(initial=np.inf))
    high = float(known.max(initial=-np.inf)) if top is None else top
    return Normalize(low, high if high > low else low + 1), COLOURS


def _compose(blocks: Mapping[Kind, list[_Panel]], lines: list[str]) -> Figure:
    sizes = [panel.cells.state.shape for panels in blocks.values() for panel in panels]
    layers, heads = (max(size[axis] for size in sizes) for axis in (0, 1))
    small = layers <= _WRITE_UP_TO[0] and heads <= _WRITE_UP_TO[1]
    side = max(4, min(30, 330 // max(layers, heads)))
    tall, wide = (32, 48) if small else (side, side)
    across = min(_ACROSS, max(map(len, blocks.values())))
    step = (_ABOVE + max(layers * tall, 110) + _BELOW, _LEFT + heads * wide + BAR_ROOM)
    rows = sum(-(-len(panels) // across) for panels in blocks.values())
    heading = _HEADING if len(blocks) > 1 else 0
    title = "layers x heads" if len(blocks) > 1 else f"{KIND_WORDS[next(iter(blocks))]} · layers x heads"
    least, top = header_size(title, lines)
    height = top + len(blocks) * heading + rows * step[0] + 40
    page = FigureLayout.blank(max(2 * EDGE + across * step[1], least), height)
    page.header(title, lines)
    states = []
    for kind, panels in blocks.items():
        if heading:
            page.write(EDGE, top, KIND_WORDS[kind], 9.5, weight="bold")
        top += heading
        for n, panel in enumerate(panels):
            place = (EDGE + n % across * step[1] + _LEFT, top + n // across * step[0] + _ABOVE)
            _put(page, panel, place, (tall, wide), small)
            states.append(panel.cells.state.ravel())
        top += -(-len(panels) // across) * step[0]
    page.legend(legend(np.concatenate(states)), EDGE, page.height - 30)
    return page.figure


def _put(page: FigureLayout, panel: _Panel, place: tuple[float, float], cell: tuple[int, int], write: bool) -> None:
    rows, columns = panel.cells.state.shape
    axes = page.axes(*place, columns * cell[1], rows * cell[0])
    image = paint(axes, panel.cells, panel.norm, panel.colours)
    axes.set_title(panel.name, **style(SUBTITLE, loc="left", pad=9))
    layers = side_of(list(panel.layers), cell[0], positions=False, largest=SMALL)
    heads = side_of(list(panel.heads), cell[1], positions=False, largest=SMALL)
    draw_ticks(axes, layers, heads)
    axes.set_ylabel("layer", **style(SUBTITLE))
    axes.set_xlabel("head", **style(SUBTITLE))
    if write:
        write_values(axes, panel.cells, image)
    bar = page.bar_beside(axes, image, panel.unit)
    low, high = panel.norm.vmin, panel.norm.vmax
    if panel.range[0] is not None and low is not None and low < panel.range[0]:
        bar.set_ylim(panel.range[0], high)
