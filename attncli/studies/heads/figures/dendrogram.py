"""The dendrogram of heads: a tree of average linkage over their distances."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from attncli.data import Kind
from attncli.plotting.axis import KIND_WORDS, fit_labels, join_parts
from attncli.plotting.layout import EDGE, FigureLayout, Header
from attncli.plotting.text import FAINT, INK, SMALL, SUBTITLE, style, with_fixed_style
from attncli.studies.heads.options import HeadsOptions
from attncli.studies.heads.result import LARGEST_DISTANCE, HeadClusters

_WIDTH, _TALLEST_ROW, _NUMBER_ROOM = 620, 18, 34
_TALLEST = 3000
_ABOVE, _BELOW, _KEY = 10, 46, 60
_BETWEEN, _BAND = "#9a9a9a", "#f1f1f1"
_REDUNDANT: dict[str, Any] = {"color": "#D55E00", "linewidth": 1, "linestyle": (0, (4, 2))}
_MEDIAN: dict[str, Any] = {"color": "#0072B2", "linewidth": 1, "linestyle": (0, (1, 1.5))}


@with_fixed_style
def draw(group: HeadClusters, kind: Kind, grouping: HeadsOptions, *, model: str = "", note: str = "") -> Figure:
    """Return the dendrogram of the heads of one kind: which heads are similar, and how similar?

    A line per head; two branches join at the mean distance between their heads. Clusters have a grey band with their
    number. Two vertical lines show the median distance and the distance below which a pair is redundant.
    """
    title = join_parts("clusters of similar heads", KIND_WORDS[kind], f"{len(group.heads)} heads")
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
    axes.axvline(grouping.redundant, **_REDUNDANT)
    median = group.medians["distance"]
    if not np.isnan(median):
        axes.axvline(median, **_MEDIAN)
    axes.set_yticks(labels.centres, labels=labels.texts, **style(labels.size))
    axes.set_xticks([0, 0.2, 0.4, 0.6, 0.8], labels=["0", "0.2", "0.4", "0.6", "0.8"], **style(SMALL))
    axes.grid(axis="x", color="#dddddd", linewidth=0.6, zorder=0)
    axes.tick_params(length=0, pad=4)
    axes.set_xlabel("distance √JS (√nat)", **style(SUBTITLE))
    for line, handles in enumerate(_key(grouping, median)):
        page.legend(handles, EDGE, page.height - _KEY + 8 + 22 * line)
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


def _key(grouping: HeadsOptions, median: float) -> Iterator[list[Line2D]]:
    """Yield the two lines of the legend."""
    within = Line2D([], [], color=INK, linewidth=1.2, label="within a cluster (number at the right)")
    yield [within, Line2D([], [], color=_BETWEEN, linewidth=1.2, label="between clusters")]
    redundant = Line2D([], [], **_REDUNDANT, label=f"redundant pairs: under {grouping.redundant:g}")
    middle = [] if np.isnan(median) else [Line2D([], [], **_MEDIAN, label=f"median of all pairs: {median:.2f}")]
    yield [redundant, *middle]
