"""The map of one head with its tokens, and the small maps of all heads, each with how true it is."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke

from attncli.data import Array, Kind
from attncli.data.kinds import KNOWN, KindNames
from attncli.data.labels import escape_invisible, shorten
from attncli.plotting.axis import join_parts
from attncli.plotting.colours import colour_map
from attncli.plotting.layout import BAR_ROOM, EDGE, FigureLayout, Header
from attncli.plotting.text import DPI, FAINT, INK, SMALL, SUBTITLE, measure, style, text_widths, with_fixed_style
from attncli.studies.qk_map.colouring import Colouring, ColourScale, colouring
from attncli.studies.qk_map.head_maps import FAIR, METHODS, NEAREST, HeadMaps
from attncli.studies.qk_map.result import QueryKeyMap

READING = "a point is the query or the key of a token: where the map is true, a query is near the keys it attends to"
_SIDE = 900
_LABELS, _MOST_ALIKE, _LABEL_SIZE, _LABEL_APART, _LONGEST_LABEL = 110, 3, 7.0, 3, 16
_SIDE_INKS = ("#8a3d00", "#00476e")
_WIDEST, _MOST_COLUMNS, _SMALLEST, _LARGEST = 1500, 16, 84, 250
_APART, _TITLE, _LAYER, _KEY = 10, 20, 74, 72
_POOR_PAGE, _PAGE = "#f0eae4", "#fbfbfb"
_RATIOS, _NEAR_RATIOS, _FEW = (0.1, 0.2, 0.5, 0.7, 1, 1.4, 2, 5, 10), (0.7, 0.8, 0.9, 1, 1.1, 1.25, 1.4), 8
_RASTER_FROM = 5000
"""Number of points from which they are an image in svg and pdf files."""


@with_fixed_style
def draw_head(result: QueryKeyMap, kind: Kind, *, model: str = "", note: str = "", kinds: KindNames = KNOWN) -> Figure:
    """Return the map of the only head of a kind: which keys are near which queries?"""
    group, tokens = result.groups[kind], result.groups[kind].tokens
    title = join_parts("queries and keys", kinds.title(kind), f"head {group.names[0]}")
    header = Header.of(title, model, join_parts(note, _sampled(result, group)), *_quality(group, 0), group.in_words(0))
    colours = colouring(result, kind)
    width = _SIDE + 2 * EDGE + (BAR_ROOM if colours.scale is not None else 0)
    page = FigureLayout.blank(width, header.height + _SIDE + _KEY + 10, header)
    axes = page.axes(EDGE, header.height, _SIDE, _SIDE)
    size = float(np.clip(9000 / len(tokens), 5, 40))
    _draw_points(axes, group, 0, colours, size, shapes=True)
    _draw_labels(
        axes, group, 3 + size**0.5 / 2 * DPI / 72, _SIDE_INKS if result.options.color == "side" else (INK, INK)
    )
    _draw_bar(page, axes, colours.scale)
    page.legend(_key(colours, shapes=True), EDGE, page.height - _KEY + 4)
    page.write(EDGE, page.height - _KEY + 28, READING, SMALL, FAINT)
    return page.figure


@with_fixed_style
def draw_heads(result: QueryKeyMap, kind: Kind, *, model: str = "", note: str = "", kinds: KindNames = KNOWN) -> Figure:
    """Return the maps of all heads of a kind: a row of panels for each layer, and how true each is."""
    group = result.groups[kind]
    cells, columns, rows = _grid(group)
    room = _WIDEST - 2 * EDGE - _LAYER
    side = int(np.clip(room / columns - _APART, _SMALLEST, _LARGEST))
    title = join_parts("queries and keys of every head", kinds.title(kind), f"{len(group.heads)} heads")
    header = Header.of(title, model, join_parts(note, _sampled(result, group)), READING)
    colours = colouring(result, kind)
    width: float = _LAYER + columns * (side + _APART) + (BAR_ROOM if colours.scale is not None else 0) + 2 * EDGE
    width = max(width, measure(_TITLES.split("\n"), SMALL)[0] + 2 * EDGE)
    page = FigureLayout.blank(width, header.height + rows * (side + _TITLE + _APART) + _KEY + 24, header)
    for head, (row, column) in enumerate(cells):
        left = EDGE + _LAYER + column * (side + _APART)
        top = header.height + row * (side + _TITLE + _APART) + _TITLE
        axes = page.axes(left, top, side, side)
        if column == 0:
            page.write(EDGE, top + side / 2, f"layer {group.layers[head]}", SUBTITLE, FAINT, va="center")
        _draw_points(axes, group, head, colours, float(np.clip(2.2e-4 * side**2 * 300 / len(group.tokens), 0.5, 12)))
        _write_title(page, group, head, left, top - _TITLE + 2, side)
    last = EDGE + _LAYER + (columns - 1) * (side + _APART)
    _draw_bar(page, page.axes(last, header.height + _TITLE, side, side), colours.scale)
    page.legend(
        [*_key(colours), Patch(facecolor=_POOR_PAGE, label=f"poor map: under {FAIR:g}")], EDGE, page.height - _KEY
    )
    page.write(EDGE, page.height - _KEY + 22, _TITLES, SMALL, FAINT, linespacing=1.4)
    return page.figure


_TITLES = (
    "above each map: the head, and the rank correlation of nearness with attention weight\n"
    "(1: near means attended, 0: it says nothing)"
)


def _draw_bar(page: FigureLayout, axes: Axes, scale: ColourScale | None) -> None:
    """Draw the colour bar on the right of these axes, if colours have a scale."""
    if scale is not None:
        norm = LogNorm(scale.low, scale.high) if scale.log else Normalize(scale.low, scale.high)
        bar = page.colour_bar(axes, ScalarMappable(norm, colour_map()), scale.label, scale.extend)
        if scale.log:
            ratios = _RATIOS if scale.high >= 1.4 else _NEAR_RATIOS  # a bar with the number 1 alone says nothing
            ticks = [tick for tick in ratios if scale.low <= tick <= scale.high]
            bar.set_yticks(ticks, labels=[f"{tick:g}" for tick in ticks], **style(SMALL))
            bar.minorticks_off()
        elif scale.high - scale.low < _FEW:  # positions and texts are whole numbers
            ticks = list(range(int(scale.low), int(scale.high) + 1))
            bar.set_yticks(ticks, labels=list(map(str, ticks)), **style(SMALL))


def _grid(group: HeadMaps) -> tuple[list[tuple[int, int]], int, int]:
    """Return row and column of each head, and the numbers of columns and rows: layers begin new rows."""
    counts = {layer: int((group.layers == layer).sum()) for layer in dict.fromkeys(group.layers.tolist())}
    widest = max(counts.values())
    most = min(_MOST_COLUMNS, widest) if len(counts) > 1 else min(5, widest)
    columns = math.ceil(widest / math.ceil(widest / most))
    cells, row = [], 0
    for count in counts.values():
        cells += [(row + number // columns, number % columns) for number in range(count)]
        row += math.ceil(count / columns)
    return cells, columns, row


def _sampled(result: QueryKeyMap, group: HeadMaps) -> str:
    tokens, method = group.tokens, METHODS[result.options.method]
    texts = f"{len(result.inputs)} texts" if len(result.inputs) > 1 else "one text"
    return f"{tokens.queries:,} queries and {len(tokens) - tokens.queries:,} keys of {texts}, by {method}"


def _quality(group: HeadMaps, row: int) -> tuple[str, ...]:
    """Return a line for each known number of the map of a head, with its values in all dimensions and by chance."""
    near, near_all, random, top, top_all, chance = (float(values[row]) for values in group.quality.values())
    lines = {
        f"nearness and attention weight: rank correlation {near:.2f} "
        f"(all dimensions {near_all:.2f}, random points up to {random:.2f})": near,
        f"strongest key among the {NEAREST} nearest: {top:.0%} "
        f"(all dimensions {top_all:.0%}, chance {chance:.0%})": top,
    }
    return tuple(line for line, number in lines.items() if not np.isnan(number))


def _write_title(page: FigureLayout, group: HeadMaps, head: int, left: float, top: float, side: int) -> None:
    """Write the name of a head and how true its map is above its panel; the name alone if both do not fit."""
    correlation = float(group.quality["correlation"][head])
    page.write(left, top, group.names[head], SMALL, weight="bold")
    shown = "?" if np.isnan(correlation) else f"{round(correlation, 2) + 0.0:.2f}"
    page.write(left + side, top, shown, SMALL, INK if correlation >= FAIR else FAINT, ha="right")


def _draw_points(
    axes: Axes, group: HeadMaps, head: int, colours: Colouring, size: float, *, shapes: bool = False
) -> None:
    """Draw the points of a head in random order, so that neither side covers the other.

    shapes  whether queries are discs and keys are diamonds
    """
    points, tokens = group.points[head], group.tokens
    low, high = points.min(0), points.max(0)
    middle, half = (low + high) / 2, max(float((high - low).max()) / 2, 1e-9) * 1.06
    axes.set(xlim=(middle[0] - half, middle[0] + half), ylim=(middle[1] - half, middle[1] + half))
    axes.set_frame_on(True)
    for spine in axes.spines.values():
        spine.set(linewidth=0.6, color="#cccccc")
    poor = group.verdicts[head] in ("poor", "none")
    axes.set_facecolor(_POOR_PAGE if poor else _PAGE)
    order = np.random.default_rng(0).permutation(len(tokens))
    of_points = np.array(colours.of_head(head), dtype=object)
    look: dict[str, Any] = {"linewidths": 0, "alpha": 0.75, "rasterized": len(tokens) * len(group.heads) > _RASTER_FROM}
    parts = (
        [(order[tokens.side[order] == side], marker) for side, marker in ((1, "D"), (0, "o"))]
        if shapes
        else [(order, "o")]
    )
    for chosen, marker in parts:
        scaled = size * (0.75 if marker == "D" else 1.0)
        axes.scatter(
            points[chosen, 0], points[chosen, 1], s=scaled, c=of_points[chosen].tolist(), marker=marker, **look
        )


def _draw_labels(axes: Axes, group: HeadMaps, apart: float, inks: tuple[str, str]) -> None:
    """Write tokens beside some points, each at most three times for a side, where they cover no other label.

    apart  pixels from the middle of a point to its label
    inks   colours of the labels of queries and of keys
    """
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    pixels = (group.points[0] - (left, low)) / (right - left, high - low) * _SIDE
    names = [shorten(escape_invisible(token), _LONGEST_LABEL) for token in group.tokens.token]
    different = list(dict.fromkeys(names))
    widths = dict(zip(different, text_widths(different, _LABEL_SIZE), strict=True))
    boxes = np.array([[x + apart, y, x + apart + widths[name], y] for (x, y), name in zip(pixels, names, strict=True)])
    boxes += np.array([-1, -1, 1, 1]) * _LABEL_APART + np.array([0, -0.5, 0, 0.5]) * measure(["Ag"], _LABEL_SIZE)[1]
    for point in _without_overlap(boxes, names, group.tokens.side):
        label = axes.annotate(
            names[point],
            group.points[0, point],
            (apart * 72 / DPI, 0),
            textcoords="offset points",
            va="center",
            **style(_LABEL_SIZE, inks[group.tokens.side[point]]),
        )
        label.set_path_effects([withStroke(linewidth=2, foreground=_PAGE)])


def _without_overlap(boxes: Array, names: Sequence[str], sides: Array) -> list[int]:
    """Return points whose labels cover no other label and lie inside, at most `_LABELS`.

    boxes  [point, 4] left, lower, right and upper end of each label, in pixels
    """
    inside = (boxes >= 0).all(1) & (boxes <= _SIDE).all(1)
    chosen: list[int] = []
    used: Counter[tuple[str, int]] = Counter()
    for point in np.random.default_rng(0).permutation(np.flatnonzero(inside)).tolist():
        others, name = boxes[chosen], (names[point], int(sides[point]))
        clear = (boxes[point, :2] >= others[:, 2:]).any(1) | (boxes[point, 2:] <= others[:, :2]).any(1)
        if used[name] < _MOST_ALIKE and clear.all():
            chosen.append(point)
            used[name] += 1
        if len(chosen) == _LABELS:
            break
    return chosen


def _key(colours: Colouring, *, shapes: bool = False) -> list[Line2D]:
    """Return the entries of the legend: what colours and shapes mean."""
    entries = [_entry(name, colour) for name, colour in colours.names.items()]
    if shapes and "query" not in colours.names:
        entries += [_entry("query", FAINT), _entry("key", FAINT, "D")]
    elif shapes:
        entries[1].set_marker("D")
    return entries


def _entry(name: str, colour: str, marker: str = "o") -> Line2D:
    return Line2D([], [], linestyle="", marker=marker, markersize=5, color=colour, label=name)
