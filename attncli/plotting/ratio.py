"""Two panels side by side: a share of the attention, and its ratio to the share under uniform attention."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.image import AxesImage

from attncli.data import Array
from attncli.plotting.cells import Cells, draw_cells
from attncli.plotting.colours import COLOURS, DIVERGING
from attncli.plotting.layout import FigureLayout
from attncli.plotting.text import SUBTITLE, style


@dataclass(frozen=True, eq=False)
class RatioPanel:
    """One of the two panels; `unit` labels its colour bar, `extend` is `both` if values may lie beyond its ends."""

    title: str
    cells: Cells
    norm: Normalize
    colours: str
    unit: str
    extend: str

    def draw(self, page: FigureLayout, axes: Axes) -> AxesImage:
        image = draw_cells(axes, self.cells, self.norm, self.colours)
        page.colour_bar(axes, image, self.unit, self.extend)
        axes.set_title(self.title, **style(SUBTITLE, loc="left", pad=9))
        return image


def ratio_panels(
    mass: Array, ratio: Array, state: Array, reach: int, arrange: Callable[[Cells], Cells] = lambda cells: cells
) -> Iterator[RatioPanel]:
    """Yield the panel of `mass`, then the panel of log₂ `ratio` with colours from -`reach` to `reach`.

    Arrays are [row, column]; `state` is the state of each cell. `arrange` puts the cells into the rows of the picture.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        log_ratio = np.clip(np.log2(ratio), -99, 99)
    cells = [arrange(Cells(np.nan_to_num(values).astype(np.float32), state)) for values in (mass, log_ratio)]
    scale = Normalize(0, float(np.nanmax(mass)) or 1.0)
    yield RatioPanel("share of the attention", cells[0], scale, COLOURS, "fraction", "neither")
    scale, unit = Normalize(-reach, reach), "log₂ (share / uniform share)"
    yield RatioPanel("relative to uniform attention", cells[1], scale, DIVERGING, unit, "both")
