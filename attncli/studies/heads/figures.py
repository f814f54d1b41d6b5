"""Heads by their distances (a map, a dendrogram, all distances), and the similarity of the tokens of each layer."""

import math
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle

from attncli.data import Array, Kind
from attncli.data.kinds import KNOWN, KindNames
from attncli.plotting.axis import TICK_STYLE, draw_key_ticks, draw_query_ticks, fit_labels, join_parts
from attncli.plotting.cells import DRAWN, UNDEFINED, Cells, draw_cells, missing_legend
from attncli.plotting.colours import colour_map
from attncli.plotting.highlight_colours import readable_ink
from attncli.plotting.layout import BAR_ROOM, EDGE, FigureLayout, Header, legend_style
from attncli.plotting.text import DPI, FAINT, INK, SMALL, SUBTITLE, measure, style, with_fixed_style
from attncli.studies.heads.map_layout import pieces, place_numbers, spread_apart
from attncli.studies.heads.options import HeadsOptions
from attncli.studies.heads.result import LARGEST_DISTANCE, HeadClusters, HeadsResult

# the map
READING = "a disc is a head, layer.head; close discs attend to the same keys; a number and its colour are a cluster"
_MOVED = "discs that would overlap are moved apart, by a distance of at most {:.2g}; heads.csv has the exact points"
_NAME_SIZE, _RING, _MARGIN = 6.5, 4, 34
_SMALLEST, _LARGEST, _PER_HEAD = 560, 1200, 90
# tints of Okabe & Ito 2008; a cluster has its number too
_TINTS, _TINT_EDGE = ("#9cc9e8", "#f7cf7c", "#93d6bd", "#e8b3d0", "#c9c9c9", "#f0a98a"), "#8c8c8c"
_BAND_WIDTH, _NEAR = 12, 2.5
_NUMBER_BOX = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 0.6}
_LEAST_EXTENT = 1e-3
"""The smallest distance that fills the map: heads that are closer differ by rounding, and share a point."""
# the dendrogram
_WIDTH, _TALLEST_ROW, _NUMBER_ROOM = 620, 18, 34
_TALLEST = 3000
_ABOVE, _BELOW, _KEY = 10, 46, 60
_BETWEEN, _BAND = "#9a9a9a", "#f1f1f1"
_REDUNDANT: dict[str, Any] = {"color": "#D55E00", "linewidth": 1, "linestyle": (0, (4, 2))}
_MEDIAN: dict[str, Any] = {"color": "#0072B2", "linewidth": 1, "linestyle": (0, (1, 1.5))}
# the distances
_WIDEST, _SMALLEST_CELL, _LARGEST_CELL = 2000, 2, 20
_APART, _COLUMN_GAP, _TITLE = 34, 10, 24
_UNIFORM, _UNIT = "uniform attention", "distance √JS (√nat)"
_TITLES = {"distance": "on the text", "distance_positional": "position alone", "distance_shuffled": "tokens shuffled"}
# the layers
_PANEL_WIDTH, _PANEL_HEIGHT, _PANEL_APART, _PANEL_LEFT = 330, 230, 46, 60
_PANEL_KIND, _PANEL_ABOVE, _PANEL_BELOW = 26, 26, 118
# by measure: title, unit, baselines
_PANELS = {
    "rows_to_mean": ("attention rows to their mean row", "JS (nat)", ("uniform", "positional", "shuffled")),
    "cosine": ("cosine between hidden states", "mean over pairs of tokens", ("input", "shuffled")),
    "rank_one_distance": ("hidden states to the nearest rank one", "‖X - 1x̄ᵀ‖ / ‖X‖", ("input", "shuffled")),
}
# label, colour of Okabe & Ito 2008, and dashes, so that lines differ without colours too
_LAYER = ("layer", "#0072B2", "-")
_BASELINES = {
    "uniform": ("uniform attention", "#D55E00", (0, (5, 2))),
    "positional": ("position alone", "#CC79A7", (0, (3, 1.5, 1, 1.5))),
    "shuffled": ("tokens shuffled", "#009E73", (0, (1, 1.5))),
    "input": ("input of layer 0", "#D55E00", (0, (5, 2))),
}


@with_fixed_style
def draw_map(group: HeadClusters, kind: Kind, *, model: str = "", note: str = "", kinds: KindNames = KNOWN) -> Figure:
    """Return the map of the heads of one kind: which heads attend to the same keys? Colours are layers."""
    title = join_parts("map of heads by distance", kinds.title(kind), f"{len(group.heads)} heads")
    stress = f"map by multidimensional scaling of √JS, stress {group.stress:.2f} (0: exact, from 0.2 on poor)"
    header = Header.of(title, model, note, stress)
    radius = math.ceil(measure(group.names, _NAME_SIZE)[0] / 2) + 4
    side = max(_SMALLEST, min(_LARGEST, _PER_HEAD * len(group.heads) ** 0.5))
    scale = (side - 2 * _MARGIN) / max(float(np.ptp(group.points, axis=0).max()), _LEAST_EXTENT)
    points = spread_apart(group.points * scale, 2 * (radius + _RING) + 2)
    furthest = float(np.linalg.norm(points - group.points * scale, axis=1).max()) / scale
    points += _MARGIN + radius - points.min(0)
    width, height = points.max(0) + _MARGIN + radius
    needed = max(measure([READING, _MOVED], SMALL)[0] + 2 * EDGE, width + BAR_ROOM + 2 * EDGE)
    page = FigureLayout.blank(needed, header.height + height + 94, header)
    axes = page.axes(EDGE, header.height, width, height)
    axes.set(xlim=(0, width), ylim=(0, height))
    ends = int(group.layers.min()) - 0.5, int(group.layers.max()) + 0.5
    colours = ScalarMappable(Normalize(*ends), colormaps["viridis"].resampled(round(ends[1] - ends[0])))
    _draw_clusters(axes, points, group.clusters, radius)
    for name, point, layer in zip(group.names, points, group.layers, strict=True):
        colour = colours.to_rgba(layer)
        axes.add_patch(Circle(point, radius, facecolor=colour, edgecolor="white", linewidth=0.8, zorder=3))
        look: dict[str, Any] = style(_NAME_SIZE, readable_ink(to_hex(tuple(colour))), ha="center", va="center_baseline")
        axes.text(point[0], point[1], name, zorder=4, **look)
    bar = page.colour_bar(axes, colours, "layer")
    ticks = np.unique(group.layers)[:: -(-len(set(group.layers.tolist())) // 24)].tolist()
    bar.set_yticks(ticks, labels=list(map(str, ticks)), **style(SMALL))
    bar.minorticks_off()
    page.ruler(header.height + height + 14, scale, (side - 2 * _MARGIN) / scale)
    page.write(EDGE, page.height - 54, f"{READING}\n{_MOVED.format(furthest)}", SMALL, FAINT, linespacing=1.4)
    return page.figure


def _draw_clusters(axes: Axes, points: Array, clusters: Array, radius: float) -> None:
    """Draw coloured bands between heads of a cluster, a ring around each, and the number of each piece."""
    found = pieces(points, clusters, radius + _RING + _BAND_WIDTH / 2, _BAND_WIDTH + 4)
    for border, ring in ((1.0, _RING + 1.0), (0.0, float(_RING))):
        for piece in found:
            colour = _TINT_EDGE if border else _TINTS[piece.cluster % len(_TINTS)]
            look: dict[str, Any] = {"color": colour, "solid_capstyle": "butt", "zorder": 2 - border}
            for ends in points[piece.bands]:
                axes.plot(ends[:, 0], ends[:, 1], linewidth=(_BAND_WIDTH + 2 * border) * 72 / DPI, **look)
            for head in piece.heads:
                axes.add_patch(Circle(points[head], radius + ring, color=colour, linewidth=0, zorder=2 - border))
    sizes = [measure([str(piece.cluster)], SUBTITLE, "bold") for piece in found]
    numbers = place_numbers(points, radius + _RING + 2, found, sizes)
    for piece, (centre, head) in zip(found, numbers, strict=True):
        if np.linalg.norm(centre - points[head]) > _NEAR * radius:
            axes.plot(*zip(centre, points[head], strict=True), color=FAINT, linewidth=0.6, zorder=2.5)
        label: dict[str, Any] = style(SUBTITLE, INK, ha="center", va="center", weight="bold", bbox=_NUMBER_BOX)
        axes.text(centre[0], centre[1], str(piece.cluster), gid="cluster", zorder=5, **label)


@with_fixed_style
def draw_dendrogram(
    group: HeadClusters, kind: Kind, options: HeadsOptions, *, model: str = "", note: str = "", kinds: KindNames = KNOWN
) -> Figure:
    """Return the dendrogram of the heads of one kind: which heads are similar, and how similar?

    Clusters have a grey band with their number. Two vertical lines show the median distance and the distance below
    which a pair is redundant.
    """
    title = join_parts("clusters of similar heads", kinds.title(kind), f"{len(group.heads)} heads")
    header = Header.of(title, model, note, "average linkage: branches join at the mean distance of their heads")
    row = max(5.0, min(_TALLEST_ROW, _TALLEST / len(group.heads)))
    names = [group.names[head] for head in group.order]
    labels = fit_labels(names, row, with_positions=False, largest=SMALL)
    left, height = EDGE + _NUMBER_ROOM + labels.width + 14, row * len(names)
    page = FigureLayout.blank(left + _WIDTH + EDGE, header.height + _ABOVE + height + _BELOW + _KEY, header)
    axes = page.axes(left, header.height + _ABOVE, _WIDTH, height)
    axes.set(xlim=(0, LARGEST_DISTANCE), ylim=(len(names), 0))
    _draw_bands(axes, group)
    _draw_tree(axes, group)
    median = group.medians["distance"]
    limits = [Line2D([], [], **_REDUNDANT, label=f"redundant pairs: under {options.redundant:g}")]
    axes.axvline(options.redundant, **_REDUNDANT)
    if not np.isnan(median):
        axes.axvline(median, **_MEDIAN)
        limits.append(Line2D([], [], **_MEDIAN, label=f"median of all pairs: {median:.2f}"))
    axes.set_yticks(labels.centres, labels=labels.texts, **style(labels.size))
    axes.set_xticks([0, 0.2, 0.4, 0.6, 0.8], labels=["0", "0.2", "0.4", "0.6", "0.8"], **style(SMALL))
    axes.grid(axis="x", color="#dddddd", linewidth=0.6, zorder=0)
    axes.tick_params(length=0, pad=4)
    axes.set_xlabel("distance √JS (√nat)", **style(SUBTITLE))
    within = Line2D([], [], color=INK, linewidth=1.2, label="within a cluster (number at the right)")
    between = Line2D([], [], color=_BETWEEN, linewidth=1.2, label="between clusters")
    page.legend([within, between], EDGE, page.height - _KEY + 8)
    page.legend(limits, EDGE, page.height - _KEY + 30)
    return page.figure


def _draw_bands(axes: Axes, group: HeadClusters) -> None:
    """Draw a band with its number behind each cluster of several heads."""
    clusters = group.clusters[list(group.order)]
    for number in dict.fromkeys(clusters.tolist()):
        rows = np.flatnonzero(clusters == number)
        if len(rows) > 1:
            axes.axhspan(rows[0] + 0.1, rows[-1] + 0.9, color=_BAND, zorder=0, linewidth=0)
            look = style(SUBTITLE, FAINT, ha="right", va="center", weight="bold")
            axes.text(LARGEST_DISTANCE * 0.99, rows.mean() + 0.5, str(number), **look)


def _draw_tree(axes: Axes, group: HeadClusters) -> None:
    """Draw a fork for each joint of the tree: dark within a cluster, grey between clusters."""
    count = len(group.heads)
    y = {head: row + 0.5 for row, head in enumerate(group.order)}
    x = dict.fromkeys(range(count), 0.0)
    cluster = dict(enumerate(group.clusters.tolist()))
    for node, (first, second, distance, _) in enumerate(group.tree.tolist(), count):
        upper, lower = int(first), int(second)
        within = cluster[upper] == cluster[lower] != 0
        xs, ys = [x[upper], distance, distance, x[lower]], [y[upper], y[upper], y[lower], y[lower]]
        colour, width = (INK, 1.2) if within else (_BETWEEN, 0.9)
        axes.plot(xs, ys, color=colour, linewidth=width, solid_joinstyle="miter")
        y[node], x[node] = (y[upper] + y[lower]) / 2, distance
        cluster[node] = cluster[upper] if within else 0


@with_fixed_style
def draw_distances(
    group: HeadClusters, kind: Kind, *, model: str = "", note: str = "", kinds: KindNames = KNOWN
) -> Figure:
    """Return the matrices of distances: how far is each head from each other, and does that depend on the text?

    A square for the text and for each baseline, in the same colours: dark is similar. A column next to the first
    square shows the distance of each head to uniform attention.
    """
    matrices = {
        name: matrix for name, matrix in group.matrices.items() if name == "distance" or not np.isnan(matrix).all()
    }
    count, order = len(group.heads), list(group.order)
    cell = max(_SMALLEST_CELL, min(_LARGEST_CELL, _WIDEST // (count * len(matrices))))
    labels = fit_labels([group.names[head] for head in order], cell, with_positions=False, largest=SMALL)
    title = join_parts("distances between heads", kinds.title(kind), f"{count} heads")
    header = Header.of(title, model, note, "layer.head, in the order of the dendrogram; dark is similar")
    top, side, column, left = header.height + _TITLE, count * cell, max(cell, 12), EDGE + labels.width + 26
    column_left = left + side + _COLUMN_GAP
    # with few heads the titles are wider than the squares
    step = max(side, measure(list(_TITLES.values()), SUBTITLE)[0]) + _APART
    second = max(column_left + column + _APART, left + step)
    below = max(labels.width + 30, measure([_UNIFORM], labels.size)[0] + 8)
    page = FigureLayout.blank(second + step * (len(matrices) - 1) + BAR_ROOM, top + side + below + 44, header)
    states = []
    for number, (name, matrix) in enumerate(matrices.items()):
        square_left = second + step * (number - 1) if number else left
        axes = page.axes(square_left, top, side, side)
        states.append(_draw_distances(axes, matrix[np.ix_(order, order)]))
        draw_key_ticks(axes, labels)
        page.write(square_left, top - _TITLE + 2, _TITLES[name], SUBTITLE)
        if number == 0:
            draw_query_ticks(axes, labels)
            uniform_axes = page.axes(column_left, top, column, side)
            states.append(_draw_distances(uniform_axes, group.to_even[order, None]))
            uniform_axes.set_xticks([0.5], labels=[_UNIFORM], **style(labels.size, rotation=90))
            uniform_axes.tick_params(**TICK_STYLE)
    # without baselines the colour bar follows the column of uniform attention
    apart = 0.0 if len(matrices) > 1 else _COLUMN_GAP + column
    page.colour_bar(axes, ScalarMappable(Normalize(0, LARGEST_DISTANCE), colour_map()), _UNIT, apart=apart)
    page.legend(missing_legend(np.concatenate(states)), EDGE, page.height - 30)
    return page.figure


def _draw_distances(axes: Axes, values: Array) -> Array:
    """Draw distances [row, column] and return the state of all cells; undefined ones are hatched."""
    state = np.where(np.isnan(values), UNDEFINED, DRAWN)
    draw_cells(axes, Cells(np.nan_to_num(values), state), Normalize(0, LARGEST_DISTANCE))
    return state.ravel()


@with_fixed_style
def draw_layers(result: HeadsResult, *, model: str = "", note: str = "", kinds: KindNames = KNOWN) -> Figure:
    """Return the panels of measures over layers: do the tokens become more similar from layer to layer?

    A row of panels for each kind of attention; in each panel a line over the layers, and a line for each baseline.
    """
    measures = [name for name in _PANELS if np.isfinite(result.layers[name].values).any()]
    groups = list(result.groups)
    several = len(groups) > 1
    title = join_parts("similarity of the tokens of each layer", "" if several else kinds.title(groups[0]))
    header = Header.of(title, model, note)
    above = _PANEL_ABOVE + (_PANEL_KIND if several else 0)
    step, across = above + _PANEL_HEIGHT + _PANEL_BELOW, _PANEL_LEFT + _PANEL_WIDTH + _PANEL_APART
    page = FigureLayout.blank(EDGE + len(measures) * across, header.height + len(groups) * step, header)
    for row, kind in enumerate(groups):
        top = header.height + row * step
        if several:
            page.write(EDGE, top, kinds.title(kind), SUBTITLE, weight="bold")
        for column, name in enumerate(measures):
            if np.isfinite(result.layers[name].sel(kind=kind).values).any():
                axes = page.axes(EDGE + _PANEL_LEFT + column * across, top + above, _PANEL_WIDTH, _PANEL_HEIGHT)
                _draw_panel(axes, result, kind, name)
    return page.figure


def _draw_panel(axes: Axes, result: HeadsResult, kind: Kind, name: str) -> None:
    title, unit, baselines = _PANELS[name]
    scores = result.layers[name].sel(kind=kind)
    layers = scores.coords["layer"][1].tolist()
    lines = {name: _LAYER} | {
        f"{name}_{word}": _BASELINES[word] for word in baselines if f"{name}_{word}" in result.layers
    }
    lowest = 0.0
    for order, (metric, (label, colour, dashes)) in enumerate(lines.items()):
        values = result.layers[metric].sel(kind=kind).values
        if np.isfinite(values).any():
            lowest = min(lowest, float(np.nanmin(values)))
            look: dict[str, Any] = {"marker": "o", "markersize": 4} if metric == name or len(layers) == 1 else {}
            look |= {"linewidth": 1.4, "linestyle": dashes, "clip_on": False, "zorder": 4 - 0.1 * order}
            axes.plot(layers, values, color=colour, label=label, **look)
    axes.set_frame_on(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    high = scores.range[1] or 1.0
    axes.set_ylim(lowest * 1.05, high)
    axes.set_xlim(layers[0] - 0.3, layers[-1] + 0.3)
    ticks = layers[:: -(-len(layers) // 12)]
    axes.set_xticks(ticks, labels=list(map(str, ticks)), **style(SMALL))
    axes.tick_params(labelsize=SMALL, colors=INK, width=0.6, length=3)
    axes.set_yticks([0, 0.2, 0.4, 0.6] + ([0.8, 1] if high == 1 else []))
    axes.grid(axis="y", color="#e4e4e4", linewidth=0.6)
    axes.set_title(title, **style(SUBTITLE, loc="left", pad=8))
    axes.set_xlabel("layer", **style(SUBTITLE))
    axes.set_ylabel(unit, **style(SUBTITLE))
    place: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (0, -0.26), "ncols": 2, "borderaxespad": 0}
    axes.legend(borderpad=0, **place, **legend_style())
