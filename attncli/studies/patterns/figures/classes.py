"""What each head does, as one page: a map of layers x heads by class, and how far the heads of each layer differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Polygon, Rectangle

from attncli.data import KINDS, Array, Kind
from attncli.errors import UsageError
from attncli.plotting.axis import KIND_WORDS, draw_ticks, joined, side_of
from attncli.plotting.layout import EDGE, FigureLayout, header_size
from attncli.plotting.text import FAINT, INK, SMALL, SUBTITLE, measure, style
from attncli.plotting.theme import own_style
from attncli.studies.patterns.result import CLASSES, Patterns

# Okabe & Ito 2008: told apart by every kind of colour vision
COLOURS = {
    "vertical": "#0072B2",
    "diagonal": "#D55E00",
    "local": "#E69F00",
    "block": "#CC79A7",
    "sparse": "#009E73",
    "uniform": "#56B4E9",
    "mixed": "#e4e4e4",
}
NONE = "#ffffff"
READING = "colour: the class that a head bears most clearly; corner: the next one; letters: all of them"
_LEFT, _ABOVE, _BELOW, _HEADING = 60, 34, 64, 34
_BARS, _APART, _KEY, _LINE = 210, 44, 190, 22
_READABLE = (18, 13)
_MARKS = {
    "differentiation_positional": ("o", "position alone"),
    "differentiation_shuffled": ("x", "tokens shuffled"),
}
_KEY_LINES = len(CLASSES) + len(_MARKS)


@dataclass(frozen=True)
class _Grid:
    """The heads of one kind: which row and column each has, and its classes.

    layers, heads  their numbers, in order
    classes        by (row, column)
    offsets        of those that are diagonal, in words
    """

    kind: Kind
    layers: list[int]
    heads: list[int]
    classes: dict[tuple[int, int], tuple[str, ...]]
    offsets: dict[tuple[int, int], str]

    @classmethod
    def of(cls, kind: Kind, patterns: Patterns) -> _Grid:
        offset = patterns.heads["diagonal_offset"].values
        rows = [
            (layer, head, patterns.classes[at], offset[at])
            for at, (of, layer, head) in enumerate(patterns.head_keys())
            if of == kind
        ]
        layers, heads = sorted({row[0] for row in rows}), sorted({row[1] for row in rows})
        at = {(layer, head): (layers.index(layer), heads.index(head)) for layer, head, _, _ in rows}
        classes = {at[layer, head]: found for layer, head, found, _ in rows}
        offsets = {at[layer, head]: signed(step) for layer, head, found, step in rows if "diagonal" in found}
        return cls(kind, layers, heads, classes, offsets)


@own_style
def draw(patterns: Patterns, *, model: str = "", note: str = "") -> Figure:
    """What does each head do, and do the heads of a layer do different things?

    One cell per head: its colour is the class that it bears most clearly, a corner has the colour of the next, letters
    name all; of diagonal heads the offset stands below. Beside it a bar per layer: the mean distance between its
    heads, and marks for what position alone and shuffled tokens give.
    """
    grids = [_Grid.of(kind, patterns) for kind in KINDS if any(of == kind for of, _, _ in patterns.head_keys())]
    if not grids:
        raise UsageError("there is nothing to draw: no head was measured")
    tall, wide = _cell(grids)
    heights = [max(len(grid.layers) * tall, _KEY_LINES * _LINE) for grid in grids]
    heading = _HEADING if len(grids) > 1 else 0
    size = f"{len(grids[0].layers)} layers x {len(grids[0].heads)} heads"
    title = joined("what heads do", *([] if heading else [KIND_WORDS[grids[0].kind], size]))
    lines = [line for line in (model, note) if line]
    least, top = header_size(title, lines)
    across = max(len(grid.heads) for grid in grids) * wide
    bars = EDGE + _LEFT + across + _APART
    width = bars + _BARS + _APART + _KEY + EDGE
    height = top + len(grids) * _step(heading) + sum(heights) + 30
    page = FigureLayout.blank(max(width, least, 2 * EDGE + measure([READING], SMALL)[0]), height)
    page.header(title, lines)
    for grid, height in zip(grids, heights, strict=True):
        if heading:
            page.write(EDGE, top, KIND_WORDS[grid.kind], 9.5, weight="bold")
        place = top + heading + _ABOVE
        _put_cells(page.axes(EDGE + _LEFT, place, len(grid.heads) * wide, len(grid.layers) * tall), grid, (tall, wide))
        _put_bars(page.axes(bars, place, _BARS, len(grid.layers) * tall), grid, patterns)
        _put_key(page, bars + _BARS + _APART, place, grid)
        top += _step(heading) + height
    page.write(EDGE, page.height - 30, READING, SMALL, FAINT)
    return page.figure


def signed(offset: float) -> str:
    """`-1`, `0`, `+1`; of a mean over texts one decimal.

    >>> signed(-1.0), signed(0.0), signed(1.0), signed(-0.75)
    ('-1', '0', '+1', '-0.8')
    """
    shown = f"{offset:+.1f}".removesuffix(".0")
    return "0" if not shown.strip("+-0.") else shown


def _step(heading: int) -> int:
    return heading + _ABOVE + _BELOW


def _cell(grids: Sequence[_Grid]) -> tuple[int, int]:
    """Height and width of a cell: room for letters where the page allows."""
    layers = sum(len(grid.layers) for grid in grids)
    heads = max(len(grid.heads) for grid in grids)
    return max(6, min(34, 1400 // layers)), max(6, min(46, 1400 // heads))


def _put_cells(axes: Axes, grid: _Grid, cell: tuple[int, int]) -> None:
    rows, columns = len(grid.layers), len(grid.heads)
    axes.set(xlim=(0, columns), ylim=(rows, 0))
    written = cell[0] >= _READABLE[0] and cell[1] >= _READABLE[1]
    for (row, column), classes in grid.classes.items():
        colours = [COLOURS[name] for name in classes] or [NONE]
        axes.add_patch(Rectangle((column, row), 1, 1, facecolor=colours[0], edgecolor="white", linewidth=1))
        if len(colours) > 1:
            corner = [(column + 1, row + 0.45), (column + 1, row + 1), (column + 1 - 0.55 * cell[0] / cell[1], row + 1)]
            axes.add_patch(Polygon(corner, facecolor=colours[1], edgecolor="white", linewidth=0.8))
        if written:
            letters = "".join(name[0].upper() for name in classes)
            steps = grid.offsets.get((row, column), "")
            shown = f"{letters}{steps}" if len(classes) == 1 and len(steps) < 3 else letters
            look = style(_fitting(shown, cell[1]), _ink(colours[0]), ha="center", va="center")
            axes.text(column + 0.5, row + 0.5, shown, **look)
    layers = side_of(list(map(str, grid.layers)), cell[0], positions=False, largest=SMALL)
    draw_ticks(axes, layers, side_of(list(map(str, grid.heads)), cell[1], positions=False, largest=SMALL))
    axes.set_ylabel("layer", **style(SUBTITLE))
    axes.set_xlabel("head", **style(SUBTITLE))


def _put_bars(axes: Axes, grid: _Grid, patterns: Patterns) -> None:
    """How far the heads of each layer differ, with what its baselines give."""
    coords = patterns.layers["differentiation"].coords
    rows = np.flatnonzero(coords["kind"][1] == grid.kind)
    at = np.array([grid.layers.index(coords["layer"][1][row]) + 0.5 for row in rows])

    def of(name: str) -> Array:
        found: Array = patterns.layers[name].values[rows]
        return found

    axes.barh(at, np.nan_to_num(of("differentiation")), height=0.7, color="#8c8c8c", zorder=2)
    for name, (mark, _) in _MARKS.items():
        if name in patterns.layers:
            axes.plot(
                of(name),
                at,
                mark,
                color=INK,
                markersize=5,
                markerfacecolor="white",
                zorder=3,
                clip_on=False,
            )
    axes.set(xlim=(0, np.log(2) ** 0.5), ylim=(len(grid.layers), 0))
    axes.set_xticks([0, 0.2, 0.4, 0.6, 0.8], labels=["0", "0.2", "0.4", "0.6", "0.8"], **style(SMALL))
    axes.grid(axis="x", color="#dddddd", linewidth=0.6, zorder=0)
    axes.tick_params(length=0, pad=4)
    axes.set_title("difference of its heads", **style(SUBTITLE, loc="left", pad=9))
    axes.set_xlabel("mean distance √JS (√nat)", **style(SUBTITLE))


def _put_key(page: FigureLayout, left: float, top: float, grid: _Grid) -> None:
    """The classes with their letters and how many heads bear each; what the marks are."""
    counts = Counter(name for classes in grid.classes.values() for name in classes)
    axes = page.axes(left, top, _KEY, _KEY_LINES * _LINE)
    axes.set(xlim=(0, _KEY), ylim=(_KEY_LINES * _LINE, 0))
    for number, name in enumerate(CLASSES):
        middle = (number + 0.5) * _LINE
        axes.add_patch(Rectangle((0, middle - 8), 16, 16, facecolor=COLOURS[name], edgecolor="none"))
        axes.text(8, middle, name[0].upper(), **style(SMALL, _ink(COLOURS[name]), ha="center", va="center"))
        axes.text(26, middle, name, **style(SUBTITLE, ha="left", va="center"))
        axes.text(_KEY - 4, middle, str(counts[name]), **style(SUBTITLE, ha="right", va="center"))
    for number, (mark, label) in enumerate(_MARKS.values(), len(CLASSES)):
        middle = (number + 0.5) * _LINE
        axes.plot([8], [middle], mark, color=INK, markersize=5, markerfacecolor="white")
        axes.text(26, middle, label, **style(SUBTITLE, ha="left", va="center"))
    page.write(left + _KEY - 4, top - 8, "heads", SMALL, FAINT, ha="right", va="bottom")


def _fitting(text: str, wide: int) -> float:
    """The size at which a text fits a cell."""
    width = measure([text], SUBTITLE)[0]
    return SUBTITLE * min(1.0, 0.86 * wide / width)


def _ink(colour: str) -> str:
    return "white" if np.dot(to_rgb(colour), (0.3, 0.59, 0.11)) < 0.55 else "black"
