"""Many maps as one array: panels side by side, so that one image draws them all."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from attncli.data import Zoom
from attncli.plotting import page_scale
from attncli.plotting.cells import DRAWN, GAP, Cells

_PAGE_WIDTH, _PAGE_HEIGHT = 1900, 2300
_SMALLEST_PANEL, _LARGEST_PANEL = 40, 420
_LARGEST_CELL, _LEAST_SIDE = 26, 16
Panels = Sequence[Sequence[Cells | None]]


@dataclass(frozen=True)
class Geometry:
    """The sizes of a mosaic: cells in pixels, panels and gaps in cells.

    tall, wide     height and width of a cell in pixels
    rows, columns  cells of a panel
    gap            (down, across) cells between panels
    pool           (down, across) tokens of one cell
    """

    tall: int
    wide: int
    rows: int
    columns: int
    gap: tuple[int, int]
    pool: tuple[int, int]

    def top(self, row: int) -> int:
        return row * (self.rows + self.gap[0])

    def left(self, column: int) -> int:
        return column * (self.columns + self.gap[1])


def page_panel_side(panels: tuple[int, int]) -> int:
    """Return the pixels per side of the panels of a page with this many panels, down and across."""
    return max(_SMALLEST_PANEL, min(_LARGEST_PANEL, _PAGE_WIDTH // panels[1], _PAGE_HEIGHT // panels[0]))


def panel_side(counts: Sequence[int]) -> int:
    """Return the pixels per side of the panels of a page; `counts` are the maps of each layer."""
    if len(counts) > 1 and max(counts) > 1:
        return page_panel_side((len(counts), max(counts)))
    panels = len(counts) if len(counts) > 1 else counts[0] + (counts[0] > 1)
    return page_panel_side((math.ceil(panels / near_square(panels)), near_square(panels)))


def fit_to_pages(zoom: Zoom, pages: Iterable[Sequence[int]]) -> Zoom:
    """Return a zoom whose cells are no finer than the panels of some pages can show.

    pages  for each page, the number of maps of each layer
    """
    return zoom if zoom.resolution is None else replace(zoom, panel=max(map(panel_side, pages)))


def near_square(panels: int) -> int:
    """Return the columns of a near square that leave few places empty: 5 for 13 panels, 4 for 8."""
    widths = range(int(np.ceil(panels**0.5)), int(np.ceil((2 * panels) ** 0.5)) + 1)
    return min(widths, key=lambda width: -panels % width)


def plan_mosaic(tokens: tuple[int, int], panels: tuple[int, int], gap: tuple[int, int]) -> Geometry:
    """Return the sizes at which `panels` (down, across) of maps of `tokens` (queries, keys) fill a page.

    Cells are whole pixels; where a panel has fewer pixels than tokens, several tokens share a cell.

    gap  pixels between panels, down and across
    """
    side, largest = max(_LEAST_SIDE, page_scale.cell_size(page_panel_side(panels))), page_scale.cell_size(_LARGEST_CELL)
    square = max(1, min(largest, side // max(tokens)))
    pool = tuple(math.ceil(n / side) for n in tokens)
    counts = tuple(math.ceil(n / share) for n, share in zip(tokens, pool, strict=True))
    tall, wide = (max(square, min(largest, side // (4 * n))) for n in counts)
    gaps = (max(1, round(gap[0] / tall)), max(1, round(gap[1] / wide)))
    return Geometry(tall, wide, counts[0], counts[1], gaps, (pool[0], pool[1]))


def compose_panels(panels: Panels, geometry: Geometry, mean: bool = False) -> Cells:
    """Return one array of all panels, with gaps between them and where one is missing or smaller than the others.

    mean  pool cells by their mean instead of their largest weight
    """
    down, across = len(panels), max(len(line) for line in panels)
    shape = (geometry.top(down) - geometry.gap[0], geometry.left(across) - geometry.gap[1])
    mosaic = Cells(np.zeros(shape, np.float32), np.full(shape, GAP, np.uint8))
    for row, line in enumerate(panels):
        for column, panel in enumerate(line):
            if panel is not None:
                pooled = panel.pooled(*geometry.pool, mean)
                (rows, columns), top, left = pooled.state.shape, geometry.top(row), geometry.left(column)
                area = (slice(top, top + rows), slice(left, left + columns))
                mosaic.weights[area], mosaic.state[area] = pooled.weights, pooled.state
    return mosaic


def scale_each_panel(panels: Panels) -> list[list[Cells | None]]:
    """Return each panel as shares of its own largest weight."""

    def shares(panel: Cells) -> Cells:
        weights = np.where(panel.state == DRAWN, panel.weights, 0) / (panel.drawn.max(initial=0.0) or 1)
        return Cells(weights.astype(np.float32), panel.state)

    return [[panel and shares(panel) for panel in line] for line in panels]
