"""Attention weights on their way to a picture: what is drawn, what no query may see, what is undefined."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.image import AxesImage
from matplotlib.patches import Patch

from attncli.data import Array, LayerMaps
from attncli.plotting.text import style

# In the order in which they win when cells are pooled: one drawn weight shows, whatever is around it.
INVISIBLE, UNDEFINED, DRAWN, GAP = 0, 1, 2, 3
COLOURS = "viridis"
GREY, HATCH, HATCH_INK = "#d9d9d9", "xxxxxx", "#b0b0b0"


@dataclass(frozen=True, eq=False)
class Cells:
    """weights [..., query, key] float32 and, of the same shape, the state of each cell."""

    weights: Array
    state: Array

    def pooled(self, down: int, across: int, mean: bool = False) -> Cells:
        """Blocks of `down` x `across` cells as their largest weight, so that no strong one is lost, or as the mean."""
        if down == across == 1:
            return self
        state = _blocks(np.maximum, self.state, down, across, INVISIBLE)
        there = self.state == DRAWN
        if mean:
            counts = _blocks(np.add, there.astype(np.float64), down, across, 0)
            found = _blocks(np.add, np.where(there, self.weights, 0.0), down, across, 0) / np.maximum(counts, 1)
        else:
            found = _blocks(np.maximum, np.where(there, self.weights, -np.inf), down, across, -np.inf)
        return Cells(np.where(state == DRAWN, found, 0).astype(np.float32), state)

    @property
    def drawn(self) -> Array:
        """The weights that have a colour, in a row."""
        weights: Array = self.weights[self.state == DRAWN]
        return weights


def cells_of(maps: LayerMaps) -> Cells:
    """All maps of a layer as cells [head, query, key]."""
    weights = np.asarray(maps.weights)
    state = np.where(np.isfinite(weights), DRAWN, UNDEFINED).astype(np.uint8)
    if maps.visible is not None:
        state = np.where(maps.visible, state, INVISIBLE).astype(np.uint8)
    return Cells(weights, state)


def _blocks(operation: np.ufunc, values: Array, down: int, across: int, fill: float) -> Array:
    rows, columns = values.shape[-2:]
    edge = [(0, 0)] * (values.ndim - 2) + [(0, -rows % down), (0, -columns % across)]
    padded = np.pad(values, edge, constant_values=fill)
    shape = (*values.shape[:-2], padded.shape[-2] // down, down, padded.shape[-1] // across, across)
    blocks: Array = operation.reduce(padded.reshape(shape), axis=(-3, -1))
    return blocks


def paint(axes: Axes, cells: Cells, norm: Normalize, colours: str = COLOURS) -> AxesImage:
    """The cells as one picture, first row on top; grey what may not be seen, hatched what is undefined."""
    rows, columns = cells.state.shape
    place: dict[str, Any] = {"aspect": "auto", "interpolation": "none", "extent": (0, columns, rows, 0)}
    if (cells.state != DRAWN).any():
        under = np.zeros((rows, columns, 4), np.uint8)
        under[cells.state == INVISIBLE] = (0xD9, 0xD9, 0xD9, 0xFF)
        under[cells.state == GAP] = 0xFF
        axes.imshow(under, zorder=0, **place)
    if (cells.state == UNDEFINED).any():
        axes.set_frame_on(True)
        axes.patch.set(facecolor="white", edgecolor=HATCH_INK, hatch=HATCH, linewidth=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
    weights = np.ma.masked_array(cells.weights, cells.state != DRAWN)
    return axes.imshow(weights, cmap=colours, norm=norm, zorder=1, **place)


def write_values(axes: Axes, cells: Cells, image: AxesImage) -> None:
    """Each drawn value as a number in its cell, in an ink that stands out from the cell's colour."""
    drawn = np.abs(cells.weights[cells.state == DRAWN])
    top = float(drawn.max()) if drawn.size else 0.0
    inks = np.where(image.to_rgba(cells.weights)[..., :3] @ (0.3, 0.59, 0.11) < 0.55, "white", "black")
    for row, column in zip(*np.nonzero(cells.state == DRAWN), strict=True):
        value, ink = cells.weights[row, column], str(inks[row, column])
        axes.text(column + 0.5, row + 0.5, fits_cell(float(value), top), **style(7.5, ink, ha="center", va="center"))


def fits_cell(value: float, top: float) -> str:
    """A number in as few characters as tell it from others; `top` is the largest beside it.

    >>> in_a_cell(0.254, 0.9), in_a_cell(12.34, 12.34), in_a_cell(-0.0123, 0.03), in_a_cell(0.0001, 0.03)
    ('0.25', '12', '-.012', '0')
    """
    if abs(value) >= 10:
        return f"{value:.0f}"
    if top >= 0.05 or top == 0:
        return f"{value:.2f}"
    places = min(3, 1 - math.floor(math.log10(top)))
    shown = f"{value:.{places}f}".replace("0.", ".", 1)
    return shown if shown.strip("-.0") else "0"


def legend(state: Array) -> list[Patch]:
    """What the looks without a colour mean, for those that occur."""
    handles = []
    if (state == INVISIBLE).any():
        handles.append(Patch(facecolor=GREY, label="key that the query may not see"))
    if (state == UNDEFINED).any():
        look: dict[str, Any] = {"facecolor": "white", "edgecolor": HATCH_INK, "hatch": HATCH, "linewidth": 0}
        handles.append(Patch(**look, label="undefined"))
    return handles
