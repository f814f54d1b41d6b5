"""Heads as points on a map: what stands close looks at the same keys."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from attncli.data import Array, Kind
from attncli.plotting.axis import KIND_WORDS, joined
from attncli.plotting.highlight_colours import ink
from attncli.plotting.layout import BAR_ROOM, EDGE, FigureLayout, header_size
from attncli.plotting.text import DPI, FAINT, INK, SMALL, SUBTITLE, measure, style
from attncli.plotting.theme import own_style
from attncli.studies.heads.result import HeadClusters

READING = "a point is a head, layer.head; close points look at the same keys; ways join the heads of a numbered cluster"
_RADIUS, _MARGIN = 15, 34
_LEAST, _MOST, _PER_HEAD = 560, 2000, 90
# light tints of Okabe & Ito 2008; a cluster has its number too
_TINTS = ("#cfe3f2", "#fbe3b0", "#cdeadd", "#f3d9e7", "#e3e3e3", "#f6cdb8")
_TINT_EDGE = "#8c8c8c"
_WAY = 16
_BEHIND = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 0.6}
_SMALLEST_SIZE = 4.0


@own_style
def draw(group: HeadClusters, kind: Kind, *, model: str = "", note: str = "") -> Figure:
    """Which heads look at the same keys?

    Points in two dimensions whose distances come near those between the heads, coloured by layer; heads of a cluster
    are joined by ways that bear its number.
    """
    title = joined("how alike heads are", KIND_WORDS[kind], f"{len(group.heads)} heads")
    off = f"map by multidimensional scaling of √JS, stress {group.stress:.2f} (0: exact, from 0.2 on poor)"
    lines = [line for line in (model, note, off) if line]
    least, top = header_size(title, lines)
    side = max(_LEAST, min(_MOST, _PER_HEAD * len(group.heads) ** 0.5))
    points, scale = _on_page(group.points, side)
    width, height = points.max(0) + _MARGIN
    wide = max(least, measure([READING], SMALL)[0] + 2 * EDGE, width + BAR_ROOM + 2 * EDGE)
    page = FigureLayout.blank(wide, top + height + 70)
    page.header(title, lines)
    axes = page.axes(EDGE, top, width, height)
    axes.set(xlim=(0, width), ylim=(0, height))
    colours = _colours(group.layers)
    _put_grounds(axes, points, group.clusters)
    for at, name in enumerate(group.names):
        colour = colours.to_rgba(group.layers[at])
        axes.add_patch(Circle(points[at], _RADIUS, facecolor=colour, edgecolor="white", linewidth=0.8, zorder=3 + at))
        shade = "#" + "".join(f"{round(255 * channel):02x}" for channel in colour[:3])
        size = max(_SMALLEST_SIZE, SMALL * min(1.0, 1.7 * _RADIUS / measure([name], SMALL)[0]))
        look: dict[str, Any] = style(size, ink(shade), ha="center", va="center_baseline")
        axes.text(points[at, 0], points[at, 1], name, zorder=3.5 + at, **look)
    bar = page.bar_beside(axes, colours, "layer")
    numbers = sorted(set(group.layers.tolist()))
    ticks = numbers[:: -(-len(numbers) // 24)]
    bar.set_yticks(ticks, labels=list(map(str, ticks)), **style(SMALL))
    bar.minorticks_off()
    _put_ruler(page, top + height + 14, scale)
    page.write(EDGE, page.height - 28, READING, SMALL, FAINT)
    return page.figure


def _on_page(points: Array, side: float) -> tuple[Array, float]:
    """The points in pixels, the longer side of their field that long; pixels for a distance of 1."""
    low, extent = points.min(0), np.ptp(points, axis=0)
    scale = (side - 2 * _MARGIN) / extent.max() if extent.max() > 0 else 1.0
    return (points - low) * scale + _MARGIN, scale


def _colours(layers: Array) -> ScalarMappable:
    """One step of a scale for each layer, from the first to the last."""
    first, last = int(layers.min()), int(layers.max())
    count = last - first + 1
    return ScalarMappable(Normalize(first - 0.5, last + 0.5), colormaps["viridis"].resampled(count))


def _put_grounds(axes: Axes, points: Array, clusters: Array) -> None:
    """Coloured ways between the heads of each cluster, and its number at its highest head."""
    dots = 72 / DPI
    for number in sorted(set(clusters.tolist())):
        members = points[clusters == number]
        tint, above = _TINTS[number % len(_TINTS)], 1 + number / (len(points) + 1)
        for wide, colour, order in ((_WAY + 2, _TINT_EDGE, above), (_WAY, tint, above)):
            for one, other in _ways(members):
                ends = members[[one, other]]
                look: dict[str, Any] = {"linewidth": wide * dots, "solid_capstyle": "round", "zorder": order}
                axes.plot(ends[:, 0], ends[:, 1], color=colour, **look)
        if len(members) > 1:
            across, up = members[members[:, 1].argmax()]
            label: dict[str, Any] = style(SUBTITLE, INK, ha="center", va="bottom", weight="bold", bbox=_BEHIND)
            axes.text(across, up + _RADIUS + 3, str(number), zorder=4 + len(points), **label)


def _ways(points: Array) -> list[tuple[int, int]]:
    """The shortest ways that join all points: their minimum spanning tree (Prim 1957)."""
    apart = np.linalg.norm(points[:, None] - points[None], axis=-1)
    nearest, found = np.zeros(len(points), np.int64), []
    away = apart[0].copy()
    left = set(range(1, len(points)))
    while left:
        new = min(left, key=lambda at: away[at])
        left.remove(new)
        found.append((int(nearest[new]), new))
        closer = apart[new] < away
        nearest[closer], away[closer] = new, apart[new][closer]
    return found


def _put_ruler(page: FigureLayout, top: float, scale: float) -> None:
    """How long a distance of 0.1 is."""
    axes = page.axes(EDGE, top, 0.1 * scale, 6)
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.plot([0, 0, 1, 1], [1, 0, 0, 1], color=FAINT, linewidth=1, clip_on=False)
    page.write(EDGE + 0.1 * scale + 8, top + 3, "a distance of 0.1", SMALL, FAINT, va="center")
