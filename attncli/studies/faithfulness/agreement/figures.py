"""The picture of the agreement: a matrix of methods for each measure."""

from __future__ import annotations

import numpy as np
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from attncli.plotting.axis import draw_ticks, fit_labels
from attncli.plotting.cells import DRAWN, INVISIBLE, Cells, draw_cells, write_values
from attncli.plotting.colours import DIVERGING
from attncli.plotting.layout import BAR_ROOM, EDGE, FigureLayout, Header
from attncli.plotting.text import SUBTITLE, style, with_fixed_style
from attncli.studies.faithfulness.agreement.result import MEASURES, Agreement

_CELL, _BETWEEN, _ABOVE = 50, 36, 30
_TITLES = {"kendall": "Kendall's tau-b", "spearman": "Spearman's rho", "overlap": "overlap of the first units"}


@with_fixed_style
def draw_agreement(result: Agreement, *, model: str = "", note: str = "") -> Figure:
    """Return a page with a matrix of methods for each measure: the mean over texts."""
    count = len(result.methods)
    side = count * _CELL
    left = fit_labels(list(result.methods), _CELL, with_positions=False)
    below = fit_labels(list(result.methods), _CELL, with_positions=False)
    header = Header.of(
        "agreement between methods", model, note, f"overlap of two random orders: {result.chance.mean():.2f}"
    )
    start = EDGE + left.width + 12
    width = start + len(MEASURES) * (side + _BETWEEN) + BAR_ROOM
    page = FigureLayout.blank(width, header.height + _ABOVE + side + below.width + 40, header)
    for number, measure in enumerate(MEASURES):
        axes = page.axes(start + number * (side + _BETWEEN), header.height + _ABOVE, side, side)
        values = result.means[number]
        state = np.where(np.isfinite(values), DRAWN, INVISIBLE).astype(np.uint8)
        cells = Cells(np.nan_to_num(values).astype(np.float32), state)
        image = draw_cells(axes, cells, Normalize(-1, 1), DIVERGING)
        write_values(axes, cells, image)
        draw_ticks(axes, left, below)
        if number:
            axes.set_yticklabels([])
        axes.set_title(_TITLES[measure], **style(SUBTITLE, pad=6))
    page.colour_bar(axes, image, "mean over texts")
    return page.figure
