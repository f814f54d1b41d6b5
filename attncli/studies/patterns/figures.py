"""Heads by class: a map of layers x heads with the distances between heads, and pages of heads with their classes."""

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Polygon, Rectangle

from attncli.data import KINDS, Attention, Kind
from attncli.data.kinds import KNOWN, KindNames
from attncli.errors import UsageError
from attncli.plotting import grid as head_grid
from attncli.plotting.axis import BRACKET_NOTE, draw_layer_head_axes, join_parts
from attncli.plotting.cells import HATCHED
from attncli.plotting.layout import EDGE, FigureLayout, Header
from attncli.plotting.text import FAINT, INK, SMALL, SUBTITLE, measure, style, with_fixed_style
from attncli.studies.patterns.result import CLASS_NUMBERS, CLASSES, Patterns

# Okabe & Ito 2008: different for every kind of colour vision
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
READING = "colour: the strongest class of the head; corner: the second strongest; letters: all of its classes"
_LEFT, _ABOVE, _BELOW, _HEADING = 60, 34, 64, 34
_BARS, _APART, _KEY, _LINE = 210, 44, 190, 22
_READABLE = (18, 13)
_BASELINE_MARKS = {
    "differentiation_positional": ("o", "position alone"),
    "differentiation_shuffled": ("x", "tokens shuffled"),
}
_KEY_LINES = len(CLASSES) + len(_BASELINE_MARKS)
_SHORT = {"local_mass": "within 2", "entropy_normalized": "entropy", "segment_mass": "in segment"}


Spans = list[tuple[int, int]]


class _Grid:
    """The heads of one kind as cells of a map.

    layers, heads  sorted numbers of the rows and columns
    cells          the row of each head in the table of heads, by (row, column) of its cell
    undefined      rows of the heads without any number
    """

    def __init__(self, kind: Kind, patterns: Patterns) -> None:
        self.kind = kind
        rows = {key[1:]: row for row, key in enumerate(patterns.head_keys()) if key[0] == kind}
        self.layers, self.heads = (sorted({numbers[axis] for numbers in rows}) for axis in (0, 1))
        self.cells = {(self.layers.index(layer), self.heads.index(head)): row for (layer, head), row in rows.items()}
        numbers = np.array([scores.values for scores in patterns.heads.values()])
        self.undefined = {row for row in rows.values() if np.isnan(numbers[:, row]).all()}


@with_fixed_style
def draw(patterns: Patterns, *, model: str = "", note: str = "", kinds: KindNames = KNOWN) -> Figure:
    """Return the page of head classes: what does each head do, and do the heads of a layer do different things?

    A diagonal head shows its offset too. On the right a bar per layer: the mean distance between its heads, with marks
    for the baselines. Raise UsageError where no head was measured.
    """
    measured = {kind for kind, _, _ in patterns.head_keys()}
    grids = [_Grid(kind, patterns) for kind in KINDS if kind in measured]
    if not grids:
        raise UsageError("there is nothing to draw: no head was measured")
    # cells are large enough for letters where the page allows
    tall = max(6, min(34, 1400 // sum(len(grid.layers) for grid in grids)))
    wide = max(6, min(46, 1400 // max(len(grid.heads) for grid in grids)))
    heights = [max(len(grid.layers) * tall, _KEY_LINES * _LINE) for grid in grids]
    heading = _HEADING if len(grids) > 1 else 0
    size = f"{len(grids[0].layers)} layers x {len(grids[0].heads)} heads"
    title = join_parts("what heads do", *([] if heading else [kinds.title(grids[0].kind), size]))
    shared = {grid.kind: kinds.grouped.groups(grid.kind, grid.layers, grid.heads) for grid in grids}
    header = Header.of(title, model, join_parts(note, BRACKET_NOTE if any(shared.values()) else ""))
    bars_left = EDGE + _LEFT + max(len(grid.heads) for grid in grids) * wide + _APART
    width = max(bars_left + _BARS + _APART + _KEY + EDGE, 2 * EDGE + measure([READING], SMALL)[0])
    step = heading + _ABOVE + _BELOW
    page = FigureLayout.blank(width, header.height + len(grids) * step + sum(heights) + 30, header)
    top = header.height
    for grid, height in zip(grids, heights, strict=True):
        if heading:
            page.write(EDGE, top, kinds.title(grid.kind), 9.5, weight="bold")
        map_top, map_height = top + heading + _ABOVE, len(grid.layers) * tall
        map_axes = page.axes(EDGE + _LEFT, map_top, len(grid.heads) * wide, map_height)
        _draw_cells(map_axes, grid, patterns, (tall, wide), shared[grid.kind])
        _draw_bars(page.axes(bars_left, map_top, _BARS, map_height), grid, patterns)
        counts = Counter(name for row in grid.cells.values() for name in patterns.classes[row])
        _draw_key(page, bars_left + _BARS + _APART, map_top, counts, _marks(patterns))
        top += step + height
    page.write(EDGE, page.height - 30, READING, SMALL, FAINT)
    if any(grid.undefined for grid in grids):
        page.legend([Patch(**HATCHED, label="undefined")], EDGE, page.height - 52)
    return page.figure


def signed(offset: float) -> str:
    """Return an offset as `-1`, `0` or `+1`.

    >>> signed(-1.0), signed(0.0), signed(1.0)
    ('-1', '0', '+1')
    """
    return f"{offset:+.0f}" if offset else "0"


def _draw_cells(axes: Axes, grid: _Grid, patterns: Patterns, cell: tuple[int, int], shared: Spans) -> None:
    axes.set(xlim=(0, len(grid.heads)), ylim=(len(grid.layers), 0))
    readable = cell[0] >= _READABLE[0] and cell[1] >= _READABLE[1]
    for (row, column), table_row in grid.cells.items():
        classes = patterns.classes[table_row]
        colours = [COLOURS[name] for name in classes] or [NONE]
        look = {"facecolor": colours[0], "edgecolor": "white", "linewidth": 1}
        axes.add_patch(Rectangle((column, row), 1, 1, **(HATCHED if table_row in grid.undefined else look)))
        if len(colours) > 1:
            corner = [(column + 1, row + 0.45), (column + 1, row + 1), (column + 1 - 0.55 * cell[0] / cell[1], row + 1)]
            axes.add_patch(Polygon(corner, facecolor=colours[1], edgecolor="white", linewidth=0.8))
        if readable:
            text = "".join(name[0].upper() for name in classes)
            offset = signed(patterns.heads["diagonal_offset"].values[table_row])
            text += offset if classes == ("diagonal",) else ""
            size = SUBTITLE * min(1.0, 0.86 * cell[1] / measure([text], SUBTITLE)[0])
            axes.text(column + 0.5, row + 0.5, text, **style(size, _ink(colours[0]), ha="center", va="center"))
    draw_layer_head_axes(axes, list(map(str, grid.layers)), list(map(str, grid.heads)), cell, shared)


def _draw_bars(axes: Axes, grid: _Grid, patterns: Patterns) -> None:
    """Draw the mean distance between the heads of each layer, with marks for its baselines."""
    coords = patterns.layers["differentiation"].coords
    rows = np.flatnonzero(coords["kind"][1] == grid.kind)
    centres = np.array([grid.layers.index(coords["layer"][1][row]) + 0.5 for row in rows])
    distances = np.nan_to_num(patterns.layers["differentiation"].values[rows])
    axes.barh(centres, distances, height=0.7, color="#8c8c8c", zorder=2)
    look: dict[str, Any] = {"color": INK, "markersize": 5, "markerfacecolor": "white", "zorder": 3, "clip_on": False}
    for name, (mark, _) in _marks(patterns).items():
        axes.plot(patterns.layers[name].values[rows], centres, mark, **look)
    axes.set(xlim=(0, np.log(2) ** 0.5), ylim=(len(grid.layers), 0))
    axes.set_xticks([0, 0.2, 0.4, 0.6, 0.8], labels=["0", "0.2", "0.4", "0.6", "0.8"], **style(SMALL))
    axes.grid(axis="x", color="#dddddd", linewidth=0.6, zorder=0)
    axes.tick_params(length=0, pad=4)
    axes.set_title("distance between heads", **style(SUBTITLE, loc="left", pad=9))
    axes.set_xlabel("mean distance √JS (√nat)", **style(SUBTITLE))


def _marks(patterns: Patterns) -> dict[str, tuple[str, str]]:
    """Return mark and label of each baseline that has a number."""
    return {
        name: mark
        for name, mark in _BASELINE_MARKS.items()
        if name in patterns.layers and not np.isnan(patterns.layers[name].values).all()
    }


def _draw_key(
    page: FigureLayout, left: float, top: float, counts: Counter[str], marks: dict[str, tuple[str, str]]
) -> None:
    """Draw the classes with their letters and numbers of heads, and the meaning of the baseline marks."""
    axes = page.axes(left, top, _KEY, _KEY_LINES * _LINE)
    axes.set(xlim=(0, _KEY), ylim=(_KEY_LINES * _LINE, 0))
    for number, name in enumerate(CLASSES):
        middle = (number + 0.5) * _LINE
        axes.add_patch(Rectangle((0, middle - 8), 16, 16, facecolor=COLOURS[name], edgecolor="none"))
        axes.text(8, middle, name[0].upper(), **style(SMALL, _ink(COLOURS[name]), ha="center", va="center"))
        axes.text(26, middle, name, **style(SUBTITLE, ha="left", va="center"))
        axes.text(_KEY - 4, middle, str(counts[name]), **style(SUBTITLE, ha="right", va="center"))
    for number, (mark, label) in enumerate(marks.values(), len(CLASSES)):
        middle = (number + 0.5) * _LINE
        axes.plot([8], [middle], mark, color=INK, markersize=5, markerfacecolor="white")
        axes.text(26, middle, label, **style(SUBTITLE, ha="left", va="center"))
    page.write(left + _KEY - 4, top - 8, "heads", SMALL, FAINT, ha="right", va="bottom")


def _ink(colour: str) -> str:
    return "white" if np.dot(to_rgb(colour), (0.3, 0.59, 0.11)) < 0.55 else "black"


def draw_examples(
    patterns: Patterns,
    attention: Attention,
    *,
    model: str = "",
    note: str = "",
    kinds: KindNames = KNOWN,
    log: bool = False,
) -> Figure:
    """Return the page of examples: what does each class look like? One map for each class that occurs.

    attention  maps of one text, with at least the strongest head of each class
    """
    layers, names, keys = [], [], patterns.head_keys()
    for name, row in patterns.strongest(attention.kind).items():
        _, layer, head = keys[row]
        layers.append(attention.sel(layer=layer, head=head).layers[0])
        number = CLASS_NUMBERS[name]
        value = f"{_SHORT.get(number, number)} {patterns.heads[number].values[row]:.2f}"
        names.append(f"{_described(patterns, row, name)} · {layer}.{head} · {value}")
    examples, title = replace(attention, layers=tuple(layers)), "the strongest head of each class"
    return head_grid.draw(examples, model=model, note=note, kinds=kinds, log=log, title=title, names=names)


def draw_layer(
    patterns: Patterns,
    attention: Attention,
    *,
    model: str = "",
    note: str = "",
    kinds: KindNames = KNOWN,
    log: bool = False,
) -> Figure:
    """Return the page of one layer: what do its heads do? Their maps side by side, each with its classes."""
    (maps,) = attention.layers
    rows = {key: row for row, key in enumerate(patterns.head_keys())}
    names = []
    for head in maps.heads:
        row = rows[attention.kind, int(maps.layer), head]
        names.append(f"head {head} · {' '.join(_described(patterns, row, name) for name in patterns.classes[row])}")
    title = f"layer {maps.layer}, {len(names)} heads with their classes"
    return head_grid.draw(attention, model=model, note=note, kinds=kinds, log=log, title=title, names=names)


def _described(patterns: Patterns, row: int, name: str) -> str:
    """Return a class of a head, with the offset of a diagonal one and the key of a vertical one."""
    if name == "diagonal":
        return f"{name} {signed(patterns.heads['diagonal_offset'].values[row])}"
    key, _ = patterns.sink_keys.get(patterns.head_keys()[row], ("", 0.0))
    return f"{name} {key}".strip() if name == "vertical" else name
