"""All distances between heads in the order of their dendrogram, next to those of the baselines."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from attncli.data import Array, Kind
from attncli.plotting.axis import (
    KIND_WORDS,
    TICK_STYLE,
    draw_key_ticks,
    draw_query_ticks,
    fit_labels,
    join_parts,
)
from attncli.plotting.cells import COLOURS, HATCHED
from attncli.plotting.layout import BAR_ROOM, EDGE, FigureLayout, Header
from attncli.plotting.text import SMALL, SUBTITLE, measure, style, with_fixed_style
from attncli.studies.heads.result import LARGEST_DISTANCE, HeadClusters

_WIDEST, _SMALLEST_CELL, _LARGEST_CELL = 2000, 2, 20
_APART, _COLUMN_GAP, _TITLE = 34, 10, 24
_UNIFORM, _UNIT = "uniform attention", "distance √JS (√nat)"
_TITLES = {
    "distance": "on the text",
    "distance_positional": "position alone",
    "distance_shuffled": "tokens shuffled",
}


@with_fixed_style
def draw(group: HeadClusters, kind: Kind, *, model: str = "", note: str = "") -> Figure:
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
    title = join_parts("distances between heads", KIND_WORDS[kind], f"{count} heads")
    header = Header.of(title, model, note, "layer.head, in the order of the dendrogram; dark is similar")
    top = header.height + _TITLE
    side, column, left = count * cell, max(cell, 12), EDGE + labels.width + 26
    column_left = left + side + _COLUMN_GAP
    # with few heads the titles are wider than the squares and must not overlap
    step = max(side, measure(list(_TITLES.values()), SUBTITLE)[0]) + _APART
    second = max(column_left + column + _APART, left + step)
    below = max(labels.width + 30, measure([_UNIFORM], labels.size)[0] + 8)
    page = FigureLayout.blank(second + step * (len(matrices) - 1) + BAR_ROOM, top + side + below + 24, header)
    for number, (name, matrix) in enumerate(matrices.items()):
        square_left = second + step * (number - 1) if number else left
        axes = page.axes(square_left, top, side, side)
        _draw_distances(axes, matrix[np.ix_(order, order)])
        draw_key_ticks(axes, labels)
        page.write(square_left, top - _TITLE + 2, _TITLES[name], SUBTITLE)
        if number == 0:
            draw_query_ticks(axes, labels)
            uniform_axes = page.axes(column_left, top, column, side)
            _draw_distances(uniform_axes, group.to_even[order, None])
            uniform_axes.set_xticks([0.5], labels=[_UNIFORM], **style(labels.size, rotation=90))
            uniform_axes.tick_params(**TICK_STYLE)
    # without baselines the colour bar follows the column of uniform attention
    apart = 0.0 if len(matrices) > 1 else _COLUMN_GAP + column
    page.colour_bar(axes, ScalarMappable(Normalize(0, LARGEST_DISTANCE), COLOURS), _UNIT, apart=apart)
    return page.figure


def _draw_distances(axes: Axes, values: Array) -> None:
    """Draw distances [row, column]; undefined ones are hatched."""
    rows, columns = values.shape
    image_style: dict[str, Any] = {"aspect": "auto", "interpolation": "none", "extent": (0, columns, rows, 0)}
    axes.patch.set(**HATCHED)
    axes.imshow(np.ma.masked_invalid(values), cmap=COLOURS, vmin=0, vmax=LARGEST_DISTANCE, **image_style)
