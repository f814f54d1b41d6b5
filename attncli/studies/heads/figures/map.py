"""Heads as points on a map: close heads attend to the same keys."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from attncli.data import Array, Kind
from attncli.plotting.axis import KIND_WORDS, join_parts
from attncli.plotting.highlight_colours import readable_ink
from attncli.plotting.layout import BAR_ROOM, EDGE, FigureLayout, Header
from attncli.plotting.text import DPI, FAINT, INK, SMALL, SUBTITLE, measure, style, with_fixed_style
from attncli.studies.heads.result import HeadClusters

READING = "a point is a head, layer.head; close points attend to the same keys; bands join the heads of a cluster"
_RADIUS, _MARGIN = 15, 34
_SMALLEST, _LARGEST, _PER_HEAD = 560, 2000, 90
# light tints of Okabe & Ito 2008; a cluster has its number too
_TINTS = ("#cfe3f2", "#fbe3b0", "#cdeadd", "#f3d9e7", "#e3e3e3", "#f6cdb8")
_TINT_EDGE = "#8c8c8c"
_BAND = 16
_NUMBER_BOX = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 0.6}
_SMALLEST_TEXT = 4.0


@with_fixed_style
def draw(group: HeadClusters, kind: Kind, *, model: str = "", note: str = "") -> Figure:
    """Return the map of the heads of one kind: which heads attend to the same keys?

    Distances between the points approximate those between the heads; colours are layers. Bands with a number join the
    heads of each cluster.
    """
    title = join_parts("map of heads by distance", KIND_WORDS[kind], f"{len(group.heads)} heads")
    stress = f"map by multidimensional scaling of √JS, stress {group.stress:.2f} (0: exact, from 0.2 on poor)"
    header = Header.of(title, model, note, stress)
    side = max(_SMALLEST, min(_LARGEST, _PER_HEAD * len(group.heads) ** 0.5))
    points, scale = _to_pixels(group.points, side)
    width, height = points.max(0) + _MARGIN
    needed = max(measure([READING], SMALL)[0] + 2 * EDGE, width + BAR_ROOM + 2 * EDGE)
    page = FigureLayout.blank(needed, header.height + height + 70, header)
    axes = page.axes(EDGE, header.height, width, height)
    axes.set(xlim=(0, width), ylim=(0, height))
    colours = _layer_colours(group.layers)
    _draw_clusters(axes, points, group.clusters)
    for n, name in enumerate(group.names):
        colour = colours.to_rgba(group.layers[n])
        axes.add_patch(Circle(points[n], _RADIUS, facecolor=colour, edgecolor="white", linewidth=0.8, zorder=3 + n))
        size = max(_SMALLEST_TEXT, SMALL * min(1.0, 1.7 * _RADIUS / measure([name], SMALL)[0]))
        look: dict[str, Any] = style(size, readable_ink(to_hex(tuple(colour))), ha="center", va="center_baseline")
        axes.text(points[n, 0], points[n, 1], name, zorder=3.5 + n, **look)
    bar = page.colour_bar(axes, colours, "layer")
    numbers = sorted(set(group.layers.tolist()))
    ticks = numbers[:: -(-len(numbers) // 24)]
    bar.set_yticks(ticks, labels=list(map(str, ticks)), **style(SMALL))
    bar.minorticks_off()
    _draw_ruler(page, header.height + height + 14, scale)
    page.write(EDGE, page.height - 28, READING, SMALL, FAINT)
    return page.figure


def _to_pixels(points: Array, side: float) -> tuple[Array, float]:
    """Return the points in pixels, in a field whose longer side is `side`, and the pixels of a distance of 1."""
    low, extent = points.min(0), np.ptp(points, axis=0)
    scale = (side - 2 * _MARGIN) / extent.max() if extent.max() > 0 else 1.0
    return (points - low) * scale + _MARGIN, scale


def _layer_colours(layers: Array) -> ScalarMappable:
    """Return a colour scale with one step for each layer, from the first to the last."""
    first, last = int(layers.min()), int(layers.max())
    return ScalarMappable(Normalize(first - 0.5, last + 0.5), colormaps["viridis"].resampled(last - first + 1))


def _draw_clusters(axes: Axes, points: Array, clusters: Array) -> None:
    """Draw coloured bands between the heads of each cluster, and its number above its highest head."""
    points_per_pixel = 72 / DPI
    for number in sorted(set(clusters.tolist())):
        members = points[clusters == number]
        tint, order = _TINTS[number % len(_TINTS)], 1 + number / (len(points) + 1)
        for width, colour in ((_BAND + 2, _TINT_EDGE), (_BAND, tint)):
            for edge in _spanning_tree(members):
                ends = members[list(edge)]
                look: dict[str, Any] = {"linewidth": width * points_per_pixel, "solid_capstyle": "round"}
                axes.plot(ends[:, 0], ends[:, 1], color=colour, zorder=order, **look)
        if len(members) > 1:
            x, y = members[members[:, 1].argmax()]
            label: dict[str, Any] = style(SUBTITLE, INK, ha="center", va="bottom", weight="bold", bbox=_NUMBER_BOX)
            axes.text(x, y + _RADIUS + 3, str(number), zorder=4 + len(points), **label)


def _spanning_tree(points: Array) -> list[tuple[int, int]]:
    """Return the shortest edges that join all points: their minimum spanning tree (Prim 1957)."""
    lengths = np.linalg.norm(points[:, None] - points[None], axis=-1)
    nearest, edges = np.zeros(len(points), np.int64), []
    to_tree = lengths[0].copy()
    remaining = set(range(1, len(points)))
    while remaining:
        new = min(remaining, key=lambda point: to_tree[point])
        remaining.remove(new)
        edges.append((int(nearest[new]), new))
        closer = lengths[new] < to_tree
        nearest[closer], to_tree[closer] = new, lengths[new][closer]
    return edges


def _draw_ruler(page: FigureLayout, top: float, scale: float) -> None:
    """Draw the length of a distance of 0.1."""
    axes = page.axes(EDGE, top, 0.1 * scale, 6)
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.plot([0, 0, 1, 1], [1, 0, 0, 1], color=FAINT, linewidth=1, clip_on=False)
    page.write(EDGE + 0.1 * scale + 8, top + 3, "a distance of 0.1", SMALL, FAINT, va="center")
