"""Many maps as one picture: panels side by side in one array, so that one image draws them all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from attncli.plotting.cells import DRAWN, GAP, Cells

_PAGE_WIDTH, _PAGE_HEIGHT = 1900, 2300
_LEAST, _MOST = 40, 420
_LARGEST_CELL = 26
Panels = Sequence[Sequence[Cells | None]]


@dataclass(frozen=True)
class Geometry:
    """Sizes of a mosaic; cells in pixels, panels and gaps in cells.

    tall, wide        height and width of one cell in pixels
    rows, columns     cells of one panel
    gap               (down, across) cells between panels
    pool              (down, across) how many tokens one cell stands for
    """

    tall: int
    wide: int
    rows: int
    columns: int
    gap: tuple[int, int]
    pool: tuple[int, int]

    def top(self, row: int) -> int:
        """The first cell row of the panels in this row."""
        return row * (self.rows + self.gap[0])

    def left(self, column: int) -> int:
        """The first cell column of the panels in this column."""
        return column * (self.columns + self.gap[1])


def panel_side(panels: tuple[int, int]) -> int:
    """Pixels a side of the panels of a page that has so many, down and across."""
    return max(_LEAST, min(_MOST, _PAGE_WIDTH // panels[1], _PAGE_HEIGHT // panels[0]))


def plan(tokens: tuple[int, int], panels: tuple[int, int], gap: tuple[int, int]) -> Geometry:
    """Sizes at which `panels` (down, across) of maps of `tokens` (queries, keys) fill a page.

    `gap` is the space between panels in pixels. Cells are whole pixels; where a panel has fewer pixels than
    tokens, several tokens share a cell.
    """
    side = panel_side(panels)
    square = max(1, min(_LARGEST_CELL, side // max(tokens)))
    pool = tuple(math.ceil(n / side) for n in tokens)
    counts = tuple(math.ceil(n / share) for n, share in zip(tokens, pool, strict=True))
    tall, wide = (max(square, min(_LARGEST_CELL, side // (4 * n))) for n in counts)
    gaps = (max(1, round(gap[0] / tall)), max(1, round(gap[1] / wide)))
    return Geometry(tall, wide, counts[0], counts[1], gaps, (pool[0], pool[1]))


def compose(panels: Panels, geometry: Geometry, mean: bool = False) -> Cells:
    """One array of all panels; gaps between them, and where a panel is missing or smaller than the others.

    mean  cells that share one are their mean, not the largest
    """
    down, across = len(panels), max(len(row) for row in panels)
    shape = (geometry.top(down) - geometry.gap[0], geometry.left(across) - geometry.gap[1])
    whole = Cells(np.zeros(shape, np.float32), np.full(shape, GAP, np.uint8))
    for row, line in enumerate(panels):
        for column, panel in enumerate(line):
            if panel is not None:
                _set(whole, panel.pooled(*geometry.pool, mean), geometry.top(row), geometry.left(column))
    return whole


def own_scale(panels: Panels) -> list[list[Cells | None]]:
    """Each panel as shares of its own largest weight."""
    return [[None if panel is None else _share(panel) for panel in row] for row in panels]


def _share(panel: Cells) -> Cells:
    largest = panel.drawn.max(initial=0.0)
    weights = np.where(panel.state == DRAWN, panel.weights, 0) / (largest or 1)
    return replace(panel, weights=weights.astype(np.float32))


def _set(whole: Cells, panel: Cells, top: int, left: int) -> None:
    rows, columns = panel.state.shape
    place = (slice(top, top + rows), slice(left, left + columns))
    whole.weights[place] = panel.weights
    whole.state[place] = panel.state
