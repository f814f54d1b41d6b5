"""Heads joined by how alike they are: the tree of average linkage."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from attncli.data import Kind
from attncli.plotting.axis import KIND_WORDS, joined, side_of
from attncli.plotting.layout import EDGE, FigureLayout, header_size
from attncli.plotting.text import FAINT, INK, SMALL, SUBTITLE, style
from attncli.plotting.theme import own_style
from attncli.studies.heads.options import HeadsOptions
from attncli.studies.heads.result import LARGEST_DISTANCE, HeadClusters

_WIDE, _ROW, _NUMBERS = 620, 18, 34
_LONGEST = 3000
_ABOVE, _BELOW, _KEY = 10, 46, 60
_SINGLE, _REDUNDANT, _MEDIAN, _BAND = "#9a9a9a", "#D55E00", "#0072B2", "#f1f1f1"
_DISTANCE = "distance √JS (√nat)"


@own_style
def draw(group: HeadClusters, kind: Kind, grouping: HeadsOptions, *, model: str = "", note: str = "") -> Figure:
    """Which heads are alike, and how alike?

    A line per head, joined where the mean distance between the heads of two branches is; clusters stand on bands with
    their numbers, and two upright lines show the median distance and that under which a pair is redundant.
    """
    title = joined("heads by likeness", KIND_WORDS[kind], f"{len(group.heads)} heads")
    how = "average linkage: branches join at the mean distance of their heads"
    lines = [line for line in (model, note, how) if line]
    least, top = header_size(title, lines)
    row = max(5.0, min(_ROW, _LONGEST / len(group.heads)))
    names = [group.names[at] for at in group.order]
    labels = side_of(names, row, positions=False, largest=SMALL)
    left, tall = EDGE + _NUMBERS + labels.width + 14, row * len(names)
    page = FigureLayout.blank(max(least, left + _WIDE + EDGE), top + _ABOVE + tall + _BELOW + _KEY)
    page.header(title, lines)
    axes = page.axes(left, top + _ABOVE, _WIDE, tall)
    axes.set(xlim=(0, LARGEST_DISTANCE), ylim=(len(names), 0))
    _put_bands(axes, group)
    _put_tree(axes, group)
    axes.axvline(grouping.redundant, color=_REDUNDANT, linewidth=1, linestyle=(0, (4, 2)))
    median = group.medians["distance"]
    if not np.isnan(median):
        axes.axvline(median, color=_MEDIAN, linewidth=1, linestyle=(0, (1, 1.5)))
    axes.set_yticks(labels.at, labels=labels.texts, **style(labels.size))
    _put_scale(axes)
    axes.tick_params(length=0, pad=4)
    axes.set_xlabel(_DISTANCE, **style(SUBTITLE))
    for line, handles in enumerate(_key(grouping, median)):
        page.legend(handles, EDGE, page.height - _KEY + 8 + 22 * line)
    return page.figure


def _put_bands(axes: Axes, group: HeadClusters) -> None:
    """A band behind each cluster of several heads, and its number."""
    found = group.clusters[list(group.order)]
    for number in dict.fromkeys(found.tolist()):
        rows = np.flatnonzero(found == number)
        if len(rows) > 1:
            axes.axhspan(rows[0] + 0.1, rows[-1] + 0.9, color=_BAND, zorder=0, linewidth=0)
            look = style(SUBTITLE, FAINT, ha="right", va="center", weight="bold")
            axes.text(LARGEST_DISTANCE * 0.99, rows.mean() + 0.5, str(number), **look)


def _put_tree(axes: Axes, group: HeadClusters) -> None:
    """A fork for each joint; within a cluster in ink, between clusters in grey."""
    count = len(group.heads)
    down = {head: row + 0.5 for row, head in enumerate(group.order)}
    out = dict.fromkeys(range(count), 0.0)
    cluster = dict(enumerate(group.clusters.tolist()))
    for node, (one, other, distance, _) in enumerate(group.tree.tolist(), count):
        ends = int(one), int(other)
        same = cluster[ends[0]] == cluster[ends[1]] != 0
        xs = [out[ends[0]], distance, distance, out[ends[1]]]
        ys = [down[ends[0]], down[ends[0]], down[ends[1]], down[ends[1]]]
        axes.plot(xs, ys, color=INK if same else _SINGLE, linewidth=1.2 if same else 0.9, solid_joinstyle="miter")
        down[node], out[node] = (down[ends[0]] + down[ends[1]]) / 2, distance
        cluster[node] = cluster[ends[0]] if same else 0


def _put_scale(axes: Axes) -> None:
    axes.set_xticks([0, 0.2, 0.4, 0.6, 0.8], labels=["0", "0.2", "0.4", "0.6", "0.8"], **style(SMALL))
    axes.grid(axis="x", color="#dddddd", linewidth=0.6, zorder=0)


def _key(grouping: HeadsOptions, median: float) -> list[list[Line2D]]:
    redundant = Line2D([], [], color=_REDUNDANT, linewidth=1, linestyle=(0, (4, 2)))
    redundant.set_label(f"redundant pairs: under {grouping.redundant:g}")
    middle = Line2D([], [], color=_MEDIAN, linewidth=1, linestyle=(0, (1, 1.5)))
    middle.set_label(f"median of all pairs: {median:.2f}")
    inside, between = (Line2D([], [], color=colour, linewidth=1.2) for colour in (INK, _SINGLE))
    inside.set_label("within a cluster (number at the right)")
    between.set_label("between clusters")
    return [[inside, between], [redundant, *([] if np.isnan(median) else [middle])]]
