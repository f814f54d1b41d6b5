"""Information flow through the layers: tokens as rows, layers as columns, lines as wide as the flow along them."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.path import Path

from attncli.data import Array, Attention, LayerMaps
from attncli.data.kinds import KNOWN, KindNames
from attncli.data.labels import label_with_position, labels
from attncli.data.zoom import combined_name
from attncli.errors import UsageError
from attncli.plotting import heatmap
from attncli.plotting.axis import join_parts
from attncli.plotting.layout import EDGE, FigureLayout, Header
from attncli.plotting.text import FAINT, INK, SMALL, fit_label, measure, style, with_fixed_style
from attncli.studies.flow.result import Flow, Graph, Stack

KEPT, MOVED, ACROSS = 0, 1, 2
_COLOURS = ("#7c8ba1", "#c2410c", "#0f766e")
_NAMES = ("from the token itself", "from another token", "from the source")
_PALE, _GREY = "#b4b4b4", "#8a8a8a"
FOCUS_THRESHOLD, ALL_THRESHOLD = 0.01, 0.05
_MOST_LINES = 3000
_TALLEST, _TALLEST_ROW, _FLATTEST_ROW = 1040, 26, 9
_WIDEST_COLUMN, _NARROWEST_COLUMN = 128, 64
_LABEL_ROOM, _GAP, _STACK_GAP = 12, 12, 46
_FREE_UP_TO, _LONGEST = 1100, 120
"""Pixels of levels and labels within which long labels are not cut, and most columns of a label."""
_MOST_SHARES = 12
_METHODS = {"rollout": "attention rollout", "flow": "attention flow"}


@with_fixed_style
def draw(
    flow: Flow,
    other_input: Flow | None = None,
    *,
    focus: str = "",
    model: str = "",
    note: str = "",
    kinds: KindNames = KNOWN,
    threshold: float | None = None,
) -> Figure:
    """Return the graph of layers: through which tokens does information reach a token at the top?

    A line is as wide and as dark as its weight. With a `focus` only its paths are drawn, the weight is the share of its
    rollout along the line, and the shares of the inputs are on the left; otherwise the weight is that of each token of
    the layer below in each token. Raise UsageError where the text is too long for the graph.

    other_input  the flow to the other input, where a decoder reads an encoder
    focus        name of the focus, where the rows of `flow` are its tokens
    threshold    smallest weight of a drawn line; by default 0.01 with a focus, else 0.05
    """
    graph = flow.steps
    if graph is None:
        raise UsageError("the text is too long to draw its layers: draw the matrix, or give a shorter text")
    smallest = threshold if threshold is not None else FOCUS_THRESHOLD if focus else ALL_THRESHOLD
    lines = _Lines(graph, flow.rows if focus else None, smallest)
    coordinates = _Coordinates(graph)
    predicted = " (predicted)" if flow.rows_as == "predicted" else ""
    title = _title(flow, kinds) + (f" from '{focus}'{predicted}" if focus else "")
    header = Header.of(title, model, join_parts(_options(flow), note), lines.describe(focus))
    page = FigureLayout.blank(coordinates.width, header.height + coordinates.height + 54, header)
    axes = page.axes(0, header.height, page.width, coordinates.height)
    axes.set(xlim=(0, page.width), ylim=(coordinates.height, 0))
    coordinates.draw_columns(axes, graph)
    lines.draw(axes, coordinates)
    # the values of a flow are shares of the input of the decoder, or else of the encoder
    shares: dict[Stack, Array] = {
        "decoder" if part.kind == "decoder" else "encoder": part.values.mean(0)
        for part in (flow, other_input)
        if focus and part is not None
    }
    for stack, level in graph.inputs.items():
        _write_inputs(axes, coordinates, level, stack, shares.get(stack))
    _write_top(axes, coordinates, graph, set(flow.rows.tolist()) if focus else None)
    drawn = np.unique(lines.kinds)
    handles = [Line2D([], [], color=_COLOURS[kind], linewidth=2.5, label=_NAMES[kind]) for kind in drawn]
    page.legend(handles, EDGE, page.height - 34)
    return page.figure


def matrix(flow: Flow, *, model: str = "", note: str = "", kinds: KindNames = KNOWN) -> Figure:
    """Return the matrix of shares: how much of each input token (columns) is in each token at the top (rows)?

    Grey: no path leads from the input token to the token at the top.
    """
    reachable = (flow.uniform > 0) | np.isnan(flow.values)
    maps = LayerMaps(flow.layers[-1], (0,), flow.values[None], None if reachable.all() else reachable[None])
    attention = Attention(flow.kind, flow.queries.take(flow.named), flow.keys, (maps,), flow.text)
    titles = kinds.flow_axes(flow.kind, flow.rows_as)
    words = heatmap.HeatmapText(_title(flow, kinds), f"share of the input token ({_METHODS[flow.method]})", titles)
    return heatmap.draw(attention, model=model, note=join_parts(_options(flow), note), kinds=kinds, words=words)


class _Lines:
    """All lines of at least this weight from a token of one level down to a token of another.

    Where there are very many, only the strongest. `rows` are the focus.

    ends      [line, 4] upper level, upper token, lower level, lower token
    kinds     [line] KEPT, MOVED or ACROSS
    mass      [token] of each level: the share of the focus that passes through the token; None without a focus
    left_out  number of lines that are left out because there are too many
    """

    def __init__(self, graph: Graph, rows: Array | None, smallest: float) -> None:
        mass = None if rows is None else [np.zeros(size) for size in graph.sizes()]
        if mass is not None and rows is not None:
            mass[-1][rows] = 1 / len(rows)
        ends, weights, kinds = [], [], []
        for step in reversed(graph.steps):
            carried = step.weights if mass is None else mass[step.upper][:, None] * step.weights
            if mass is not None:
                mass[step.lower] += carried.sum(0)
            upper, lower = np.nonzero(carried >= smallest)
            same_stack = graph.levels[step.upper].stack == graph.levels[step.lower].stack
            ends.append(np.stack(np.broadcast_arrays(step.upper, upper, step.lower, lower), axis=1))
            weights.append(carried[upper, lower])
            kinds.append(np.where(upper == lower, KEPT, MOVED) if same_stack else np.full(len(upper), ACROSS))
        strong = np.concatenate(weights)
        order = np.argsort(strong, kind="stable")[-_MOST_LINES:]
        self.ends, self.weights, self.kinds = np.concatenate(ends)[order], strong[order], np.concatenate(kinds)[order]
        self.mass, self.smallest, self.left_out = mass, smallest, len(strong) - len(order)

    def describe(self, focus: str) -> str:
        """Return what a line is, the weight of the widest, and which lines are left out."""
        line = f"line: share of '{focus}' along it" if focus else "line: share of a token of the layer below"
        widest = f"widest {self.weights.max():.2g}" if len(self.weights) else "no line is that strong"
        fewer = f"only the {_MOST_LINES:,} strongest" if self.left_out else ""
        return join_parts(line, widest, f"under {self.smallest:g} left out", fewer)

    def draw(self, axes: Axes, coordinates: _Coordinates) -> None:
        """Draw the lines, weak ones first so that strong ones are on top, then the tokens as dots."""
        scale = coordinates.row / _TALLEST_ROW
        if len(self.weights):
            share = self.weights / self.weights.max()
            colours = np.array([to_rgb(colour) for colour in _COLOURS])[self.kinds]
            opacity = (0.1 + 0.75 * np.sqrt(share))[:, None]
            paths = [
                _curve(coordinates.of_token(*end[2:]), coordinates.of_token(*end[:2])) for end in self.ends.tolist()
            ]
            look: dict[str, Any] = {"facecolors": "none", "edgecolors": np.hstack([colours, opacity])}
            widths = 0.4 + 5.6 * share * max(0.3, scale)
            axes.add_collection(PathCollection(paths, linewidths=widths, capstyle="butt", **look))
        for level, size in enumerate(coordinates.sizes):
            x, y = np.array([coordinates.of_token(level, token) for token in range(size)]).T
            mass = np.full(size, 0.02) if self.mass is None else self.mass[level]
            passed = mass >= (0 if self.mass is None else self.smallest)
            area = 2.5 + 26 * mass[passed] * scale
            axes.scatter(x[passed], y[passed], s=area, color=INK, linewidths=0, zorder=3)
            axes.scatter(x[~passed], y[~passed], s=1.2, color=_PALE, linewidths=0, zorder=2)


def _curve(left: tuple[float, float], right: tuple[float, float]) -> Path:
    """Return a curve from one token to another that is horizontal at both ends."""
    middle = (left[0] + right[0]) / 2
    points = [left, (middle, left[1]), (middle, right[1]), right]
    return Path(points, [Path.MOVETO, Path.CURVE4, Path.CURVE4, Path.CURVE4])


class _Coordinates:
    """The coordinates of the tokens in pixels from the top left; a decoder is below its encoder and to the right.

    names  labels of the tokens of each stack
    label  width of the widest label
    lefts  [level] column
    tops   [level] top of the first row
    row    height of a row
    step   rows from one label to the next
    """

    def __init__(self, graph: Graph) -> None:
        self.sizes = graph.sizes()
        column = max(_NARROWEST_COLUMN, min(_WIDEST_COLUMN, 1100 / len(graph.levels)))
        # labels are on both sides of the levels, and between the levels of two stacks
        free = (_FREE_UP_TO - column * (len(graph.levels) - 1)) / (1 + len(graph.inputs)) - 2 * _LABEL_ROOM
        self.names = {
            stack: [fit_label(name, SMALL, free) for name in labels(graph.tokens[stack], _LONGEST)]
            for stack in graph.inputs
        }
        self.row = max(_FLATTEST_ROW, min(_TALLEST_ROW, _TALLEST / sum(map(len, self.names.values()))))
        self.step = int(np.ceil((measure([], SMALL)[1] + 1) / self.row))
        if self.step > 1:
            for stack, names in self.names.items():
                self.names[stack] = [label_with_position(name, n) for n, name in enumerate(names)]
        self.label = max(measure(names, SMALL)[0] for names in self.names.values())
        room = self.label + 2 * _LABEL_ROOM
        self.lefts, self.tops = [EDGE + measure(["0.00"], SMALL)[0] + 10 + room], [34.0]
        for below, level in zip(graph.levels, graph.levels[1:], strict=False):
            new_stack = level.stack != below.stack
            lower = len(self.names["encoder"]) * self.row + _STACK_GAP if new_stack else 0
            self.lefts.append(self.lefts[-1] + (max(column, room) if new_stack else column))
            self.tops.append(self.tops[-1] + lower)
        self.width = self.lefts[-1] + room + EDGE
        self.height = self.tops[-1] + len(self.names[graph.levels[-1].stack]) * self.row + _GAP

    def of_token(self, level: int, token: int) -> tuple[float, float]:
        """Return x and y of a token."""
        return self.lefts[level], self.tops[level] + (token + 0.5) * self.row

    def draw_columns(self, axes: Axes, graph: Graph) -> None:
        """Draw a line for each level with its name above."""
        for level, left, top, size in zip(graph.levels, self.lefts, self.tops, self.sizes, strict=True):
            name = level.name if level.name == "input" else f"layer {level.name}"
            axes.text(left, top - 8, name.replace(" cross", "\ncross"), **style(SMALL, FAINT, ha="center", va="bottom"))
            axes.plot([left] * 2, [top, top + size * self.row], color="#ececec", linewidth=0.6, zorder=0)


def _write_top(axes: Axes, coordinates: _Coordinates, graph: Graph, focus: set[int] | None) -> None:
    """Write the tokens at the top, pale where they are not in the focus."""
    top = len(graph.levels) - 1
    for token, name in enumerate(coordinates.names[graph.levels[top].stack]):
        near_focus = any(abs(token - other) < coordinates.step for other in focus or ())
        if token in (focus or ()) or (token % coordinates.step == 0 and not near_focus):
            ink = INK if focus is None or token in focus else _PALE
            left, y = coordinates.of_token(top, token)
            axes.text(left + _LABEL_ROOM, y, name, **style(SMALL, ink, ha="left", va="center"))


def _write_inputs(axes: Axes, coordinates: _Coordinates, level: int, stack: Stack, shares: Array | None) -> None:
    """Write the tokens of an input, with the shares of the strongest in the focus."""
    known = np.zeros(0) if shares is None else np.nan_to_num(shares)
    strongest = np.argsort(-known, kind="stable")[:_MOST_SHARES].tolist()
    written: list[int] = []
    for token in [*strongest, *range(0, coordinates.sizes[level], coordinates.step)]:
        if any(abs(token - other) < coordinates.step for other in written):
            continue
        written.append(token)
        left, y = coordinates.of_token(level, token)
        ink = INK if shares is None or token in strongest else _GREY
        name = coordinates.names[stack][token]
        axes.text(left - _LABEL_ROOM, y, name, **style(SMALL, ink, ha="right", va="center"))
        if token in strongest and known[token] >= 0.005:
            look = style(SMALL, _COLOURS[MOVED], ha="right", va="center")
            axes.text(left - 2 * _LABEL_ROOM - coordinates.label, y, f"{known[token]:.2f}", **look)


def _title(flow: Flow, kinds: KindNames) -> str:
    return join_parts(kinds.way(flow.kind), _METHODS[flow.method])


def _options(flow: Flow) -> str:
    """Return the options of the flow in words, for the header."""
    layers = f"layers {flow.layers[0]}-{flow.layers[-1]}" if len(flow.layers) > 1 else f"layer {flow.layers[0]}"
    residual = "with residual" if flow.residual else "attention alone, no residual"
    words = "pieces merged into words" if flow.words else ""
    dropped = "special tokens dropped" if flow.dropped_special else ""
    norms = "by value-weighted norms" if flow.by == "norm" else ""
    return join_parts(layers, norms, f"{combined_name(flow.aggregate)} over heads", residual, words, dropped)
