"""A pair of panels: the share of the attention, and how many times the share of uniform attention that is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.image import AxesImage

from attncli.data import Array
from attncli.plotting.cells import COLOURS, DIVERGING, Cells, draw_cells
from attncli.plotting.layout import FigureLayout
from attncli.plotting.text import SUBTITLE, style


@dataclass(frozen=True, eq=False)
class RatioPanel:
    """One of the two panels: its title, cells and colour scale, and the label of the colour bar."""

    title: str
    cells: Cells
    norm: Normalize
    colours: str
    unit: str
    extend: str

    def draw(self, page: FigureLayout, axes: Axes) -> AxesImage:
        """Draw the panel with its title and its colour bar, and return its image."""
        image = draw_cells(axes, self.cells, self.norm, self.colours)
        page.colour_bar(axes, image, self.unit, self.extend)
        axes.set_title(self.title, **style(SUBTITLE, loc="left", pad=9))
        return image


def ratio_panels(
    mass: Array, ratio: Array, state: Array, reach: int, arrange: Callable[[Cells], Cells] = lambda cells: cells
) -> Iterator[RatioPanel]:
    """Yield the panel of `mass`, then that of log₂ `ratio`, with colours from -`reach` to `reach` doublings.

    Arrays are [row, column]. `arrange` puts the cells into the rows of the picture.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        doublings = np.clip(np.log2(ratio), -99, 99)
    shares, ratios = (arrange(Cells(np.nan_to_num(values).astype(np.float32), state)) for values in (mass, doublings))
    scale = Normalize(0, float(np.nanmax(mass)) or 1.0)
    yield RatioPanel("share of the attention", shares, scale, COLOURS, "fraction", "neither")
    scale, unit = Normalize(-reach, reach), "log₂ (share / uniform share)"
    yield RatioPanel("relative to uniform attention", ratios, scale, DIVERGING, unit, "both")
