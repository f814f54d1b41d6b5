"""All distances between heads in the order of their tree, beside those that position alone and shuffled tokens give."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from attncli.data import Array, Kind
from attncli.plotting.axis import KIND_WORDS, draw_key_ticks, joined, side_of
from attncli.plotting.cells import COLOURS, HATCH, HATCH_INK
from attncli.plotting.layout import BAR_ROOM, EDGE, FigureLayout, header_size
from attncli.plotting.text import SMALL, SUBTITLE, measure, style
from attncli.plotting.theme import own_style
from attncli.studies.heads.result import LARGEST_DISTANCE, HeadClusters

_WIDEST, _LEAST, _MOST = 2000, 2, 20
_APART, _BESIDE, _TITLE = 34, 10, 24
_EVEN, _UNIT = "even attention", "distance √JS (√nat)"
_TITLES = {
    "distance": "on the text",
    "distance_positional": "by position alone",
    "distance_shuffled": "on shuffled tokens",
}


@own_style
def draw(group: HeadClusters, kind: Kind, *, model: str = "", note: str = "") -> Figure:
    """How far is each head from each other, and would it be as far whatever the text says?

    One square per baseline with the same colours, dark is alike; beside the first how far each head is from even
    attention.
    """
    panels = {name: each for name, each in group.matrices.items() if name == "distance" or not np.isnan(each).all()}
    count, order = len(group.heads), list(group.order)
    cell = max(_LEAST, min(_MOST, _WIDEST // (count * len(panels))))
    labels = side_of([group.names[at] for at in order], cell, positions=False, largest=SMALL)
    title = joined("distances between heads", KIND_WORDS[kind], f"{count} heads")
    lines = [line for line in (model, note, "layer.head, in the order of the dendrogram; dark is alike") if line]
    least, top = header_size(title, lines)
    top += _TITLE
    side, beside, left = count * cell, max(cell, 12), EDGE + labels.width + 26
    even = left + side + _BESIDE
    # few heads stand further apart than their squares need, as no title may reach into the next
    step = max(side, measure(list(_TITLES.values()), SUBTITLE)[0]) + _APART
    first = max(even + beside + _APART, left + step)
    below = max(labels.width + 30, measure([_EVEN], labels.size)[0] + 8)
    page = FigureLayout.blank(max(least, first + step * (len(panels) - 1) + BAR_ROOM), top + side + below + 24)
    page.header(title, lines)
    for at, (name, matrix) in enumerate(panels.items()):
        place = first + step * (at - 1) if at else left
        axes = page.axes(place, top, side, side)
        _paint(axes, matrix[np.ix_(order, order)])
        draw_key_ticks(axes, labels)
        page.write(place, top - _TITLE + 2, _TITLES[name], SUBTITLE)
        if not at:
            axes.set_yticks(labels.at, labels=labels.texts, **style(labels.size))
            _put_even(page.axes(even, top, beside, side), group.to_even[order, None], labels.size)
    # the bar stands behind the column of even attention where that is all
    apart = 0.0 if len(panels) > 1 else _BESIDE + beside
    page.bar_beside(axes, ScalarMappable(Normalize(0, LARGEST_DISTANCE), COLOURS), _UNIT, apart=apart)
    return page.figure


def _put_even(axes: Axes, values: Array, size: float) -> None:
    _paint(axes, values)
    axes.set_xticks([0.5], labels=[_EVEN], **style(size, rotation=90))
    axes.tick_params(length=3, width=0.6, pad=2, color="#666666")


def _paint(axes: Axes, values: Array) -> None:
    rows, columns = values.shape
    place: dict[str, Any] = {"aspect": "auto", "interpolation": "none", "extent": (0, columns, rows, 0)}
    axes.patch.set(facecolor="white", edgecolor=HATCH_INK, hatch=HATCH, linewidth=0)
    axes.imshow(np.ma.masked_invalid(values), cmap=COLOURS, vmin=0, vmax=LARGEST_DISTANCE, **place)
