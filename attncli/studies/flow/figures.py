"""How information travels through the layers: tokens as rows, layers as columns, lines as wide as what runs there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.path import Path

from attncli.data import Array, Attention, LayerMaps
from attncli.data.labels import label_with_position, labels
from attncli.errors import UsageError
from attncli.plotting import heatmap
from attncli.plotting.axis import joined
from attncli.plotting.layout import EDGE, FigureLayout, header_size
from attncli.plotting.text import FAINT, INK, SMALL, measure, style
from attncli.plotting.theme import own_style
from attncli.studies.flow.result import Flow, Graph, Stack

KEPT, MOVED, ACROSS = 0, 1, 2
_COLOURS = ("#7c8ba1", "#c2410c", "#0f766e")
_NAMES = ("kept by the token itself", "taken from another token", "taken from the source")
_PALE = "#b4b4b4"
FOCUS_THRESHOLD, ALL_THRESHOLD = 0.01, 0.05
_MOST_LINES = 3000
_HIGHEST, _TALL, _LOW = 1040, 26, 9
_WIDEST, _NARROW = 128, 64
_LABEL_ROOM, _GAP, _BLOCK_GAP = 12, 12, 46
_SAID = 12
_AXES = ("token at the top", "token of the input")
_METHODS = {"rollout": "attention rollout", "flow": "attention flow"}


@own_style
def draw(
    flow: Flow,
    beside: Flow | None = None,
    *,
    focus: str = "",
    model: str = "",
    note: str = "",
    threshold: float | None = None,
) -> Figure:
    """Through which tokens of which layers does a token at the top get what is in it?

    From left to right the input, the layers, the top; each row is a token. A line is as wide and as dark as its weight:
    with a `focus` the share of its rollout that runs along there, and only its paths are shown; else what each token
    takes of each token of the layer below. On the left stand the shares of the inputs in the focus.

    beside     where a decoder reads an encoder the flow to the inputs of the other
    focus      its name, where the rows of `flow` are those of a focus
    threshold  lines of less are left out: by default 0.01 of the focus, 0.05 of a token
    """
    graph = flow.steps
    if graph is None:
        raise UsageError("the text is too long to draw its layers: draw the matrix, or give a shorter text")
    least = threshold if threshold is not None else FOCUS_THRESHOLD if focus else ALL_THRESHOLD
    lines = _Lines.of(graph, flow.rows if focus else None, least)
    plan = _Plan.of(graph)
    title = joined(_where(flow), _METHODS[flow.method] + (f" from '{focus}'" if focus else ""))
    said = [each for each in (model, joined(_how(flow), note), lines.said(focus)) if each]
    need, top = header_size(title, said)
    page = FigureLayout.blank(max(plan.width, need), top + plan.height + 54)
    page.header(title, said)
    axes = page.axes(0, top, page.width, plan.height)
    axes.set(xlim=(0, page.width), ylim=(plan.height, 0))
    plan.columns(axes, graph)
    lines.draw(axes, plan)
    shares = {_stack_below(one): one.values.mean(0) for one in (flow, beside) if focus and one is not None}
    for stack, level in graph.inputs.items():
        _name_inputs(axes, plan, level, stack, shares.get(stack))
    _name_top(axes, plan, graph, set(flow.rows.tolist()) if focus else None)
    handles = [Line2D([], [], color=_COLOURS[kind], linewidth=2.5, label=_NAMES[kind]) for kind in lines.kinds]
    page.legend(handles, EDGE, page.height - 34)
    return page.figure


def matrix(flow: Flow, *, model: str = "", note: str = "") -> Figure:
    """How much of each input token (columns) is in each token at the top (rows)? Grey: no path leads there."""
    seen = (flow.uniform > 0) | np.isnan(flow.values)
    maps = LayerMaps(flow.layers[-1], (0,), flow.values[None], None if seen.all() else seen[None])
    shown = Attention(flow.kind, flow.queries.take(flow.rows), flow.keys, (maps,), flow.text)
    title = joined(_where(flow), _METHODS[flow.method])
    what = f"share of the input token ({_METHODS[flow.method]})"
    return heatmap.draw(
        shown, model=model, note=joined(_how(flow), note), words=heatmap.HeatmapText(title, what, _AXES)
    )


@dataclass(frozen=True, eq=False)
class _Lines:
    """Lines from a token of one level down to one of another: ends [line, 4] are level, token, level, token.

    mass  of each level [token] how much of the focus runs through it, None where there is no focus
    """

    ends: Array
    weights: Array
    kind: Array
    mass: list[Array] | None
    least: float
    left_out: int

    @classmethod
    def of(cls, graph: Graph, rows: Array | None, least: float) -> _Lines:
        """All lines of at least this weight; of very many the strongest."""
        mass = None if rows is None else [np.zeros(size) for size in graph.sizes()]
        if mass is not None and rows is not None:
            mass[-1][rows] = 1 / len(rows)
        ends, weights, kinds = [], [], []
        for step in reversed(graph.steps):
            carried = step.weights if mass is None else mass[step.upper][:, None] * step.weights
            if mass is not None:
                mass[step.lower] += carried.sum(0)
            upper, lower = np.nonzero(carried >= least)
            within = graph.levels[step.upper].stack == graph.levels[step.lower].stack
            levels = np.full(len(upper), step.upper), np.full(len(upper), step.lower)
            ends.append(np.stack([levels[0], upper, levels[1], lower], axis=1))
            weights.append(carried[upper, lower])
            kinds.append(np.where(upper == lower, KEPT, MOVED) if within else np.full(len(upper), ACROSS))
        found = np.concatenate(weights)
        order = np.argsort(found, kind="stable")[-_MOST_LINES:]
        places, kind = np.concatenate(ends)[order], np.concatenate(kinds)[order]
        return cls(places, found[order], kind, mass, least, len(found) - len(order))

    @property
    def kinds(self) -> list[int]:
        return [int(kind) for kind in np.unique(self.kind)]

    def said(self, focus: str) -> str:
        """What a line is, how wide the widest is, and which are left out."""
        what = (
            f"line: share of '{focus}' that runs along it" if focus else "line: what a token takes of the layer below"
        )
        widest = f"widest {self.weights.max():.2g}" if len(self.weights) else "no line is that strong"
        fewer = f"only the {_MOST_LINES:,} strongest" if self.left_out else ""
        return joined(what, widest, f"under {self.least:g} left out", fewer)

    def draw(self, axes: Axes, plan: _Plan) -> None:
        """Weak lines first, so that strong ones lie on top; then the tokens."""
        if len(self.weights):
            share = self.weights / self.weights.max()
            colours = np.array([to_rgb(colour) for colour in _COLOURS])[self.kind]
            opacity = (0.1 + 0.75 * np.sqrt(share))[:, None]
            paths = [_curve(plan.at(*end[2:]), plan.at(*end[:2])) for end in self.ends.tolist()]
            look: dict[str, Any] = {"facecolors": "none", "edgecolors": np.hstack([colours, opacity])}
            axes.add_collection(
                PathCollection(
                    paths, linewidths=0.4 + 5.6 * share * max(0.3, plan.tall / _TALL), capstyle="butt", **look
                )
            )
        for level, size in enumerate(plan.sizes):
            places = np.array([plan.at(level, token) for token in range(size)])
            mass = np.full(size, 0.02) if self.mass is None else self.mass[level]
            shown = mass >= (0 if self.mass is None else self.least)
            area = 2.5 + 26 * mass[shown] * plan.tall / _TALL
            across, down = places.T
            axes.scatter(across[shown], down[shown], s=area, color=INK, linewidths=0, zorder=3)
            axes.scatter(across[~shown], down[~shown], s=1.2, color=_PALE, linewidths=0, zorder=2)


def _curve(left: tuple[float, float], right: tuple[float, float]) -> Path:
    """From one token to the other, level at both ends."""
    middle = (left[0] + right[0]) / 2
    points = [left, (middle, left[1]), (middle, right[1]), right]
    return Path(points, [Path.MOVETO, Path.CURVE4, Path.CURVE4, Path.CURVE4])


@dataclass(frozen=True, eq=False)
class _Plan:
    """Where each token of each level is, in pixels from the top left; the decoder is below the encoder, on its right.

    names   of each stack the label of each token, the widest of which has `label` pixels
    lefts   [level] the column, and tops [level] the first row
    """

    names: dict[Stack, list[str]]
    label: float
    sizes: tuple[int, ...]
    lefts: list[float]
    tops: list[float]
    tall: float
    width: float
    height: float
    step: int

    @classmethod
    def of(cls, graph: Graph) -> _Plan:
        names = {stack: labels(graph.tokens[stack]) for stack in graph.inputs}
        total = sum(len(each) for each in names.values())
        tall = max(_LOW, min(_TALL, _HIGHEST / total))
        wide = max(_NARROW, min(_WIDEST, 1100 / len(graph.levels)))
        step = int(np.ceil((measure([], SMALL)[1] + 1) / tall))
        if step > 1:
            names = {
                stack: [label_with_position(name, at) for at, name in enumerate(each)] for stack, each in names.items()
            }
        label = max(measure(each, SMALL)[0] for each in names.values())
        left = EDGE + _numbers() + label + 2 * _LABEL_ROOM
        lefts: list[float] = []
        tops: list[float] = []
        top = 34.0
        for at, level in enumerate(graph.levels):
            new = at > 0 and level.stack != graph.levels[at - 1].stack
            top += (len(names["encoder"]) * tall + _BLOCK_GAP) if new else 0
            gap = max(wide, label + 2 * _LABEL_ROOM) if new else wide
            lefts.append(lefts[-1] + gap if lefts else left)
            tops.append(top)
        rows = len(names[graph.levels[-1].stack])
        width = lefts[-1] + label + 2 * _LABEL_ROOM + EDGE
        return cls(names, label, graph.sizes(), lefts, tops, tall, width, top + rows * tall + _GAP, step)

    def at(self, level: int, token: int) -> tuple[float, float]:
        return self.lefts[level], self.tops[level] + (token + 0.5) * self.tall

    def columns(self, axes: Axes, graph: Graph) -> None:
        """What each column is."""
        for at, level in enumerate(graph.levels):
            name = level.name if level.name == "input" else f"layer {level.name}"
            look = style(SMALL, FAINT, ha="center", va="bottom")
            axes.text(self.lefts[at], self.tops[at] - 8, name.replace(" cross", "\ncross"), **look)
            bottom = self.tops[at] + self.sizes[at] * self.tall
            axes.plot([self.lefts[at]] * 2, [self.tops[at], bottom], color="#ececec", linewidth=0.6, zorder=0)


def _name_top(axes: Axes, plan: _Plan, graph: Graph, chosen: set[int] | None) -> None:
    """The tokens at the top, faint where they are not the focus."""
    top = len(graph.levels) - 1
    for token, name in enumerate(plan.names[graph.levels[top].stack]):
        known = chosen is None or token in chosen
        if token in (chosen or ()) or (token % plan.step == 0 and not _near(token, chosen or set(), plan.step)):
            left, down = plan.at(top, token)
            axes.text(left + _LABEL_ROOM, down, name, **style(SMALL, INK if known else _PALE, ha="left", va="center"))


def _near(token: int, chosen: set[int], step: int) -> bool:
    return any(abs(token - one) < step for one in chosen)


def _name_inputs(axes: Axes, plan: _Plan, level: int, stack: Stack, shares: Array | None) -> None:
    """The tokens of an input, with how much of the strongest is in the focus."""
    strongest: Sequence[int] = (
        () if shares is None else np.argsort(-np.nan_to_num(shares), kind="stable")[:_SAID].tolist()
    )
    placed: list[int] = []
    for token in [*strongest, *range(0, plan.sizes[level], plan.step)]:
        if any(abs(token - other) < plan.step for other in placed):
            continue
        placed.append(token)
        left, down = plan.at(level, token)
        said = token in strongest
        ink = INK if shares is None or said else "#8a8a8a"
        name = plan.names[stack][token]
        axes.text(left - _LABEL_ROOM, down, name, **style(SMALL, ink, ha="right", va="center"))
        if said and shares is not None and shares[token] >= 0.005:
            axes.text(
                left - 2 * _LABEL_ROOM - plan.label,
                down,
                f"{shares[token]:.2f}",
                **style(SMALL, _COLOURS[MOVED], ha="right", va="center"),
            )


def _numbers() -> float:
    return measure(["0.00"], SMALL)[0] + 10


def _stack_below(flow: Flow) -> Stack:
    """The stack whose inputs the values of a flow are of."""
    return "decoder" if flow.kind == "decoder" else "encoder"


def _where(flow: Flow) -> str:
    return {"encoder": "encoder", "decoder": "decoder", "cross": "decoder to encoder"}[flow.kind]


def _how(flow: Flow) -> str:
    layers = f"layers {flow.layers[0]}-{flow.layers[-1]}" if len(flow.layers) > 1 else f"layer {flow.layers[0]}"
    residual = "with residual" if flow.residual else "attention alone, no residual"
    words = "pieces joined to words" if flow.words else ""
    dropped = "special tokens dropped" if flow.dropped_special else ""
    norms = "by value-weighted norms" if flow.by == "norm" else ""
    return joined(layers, norms, f"{flow.aggregate} over heads", residual, words, dropped)
