"""The cells of a drawn map: weights with a colour, masked keys, undefined weights and gaps; and their colour scale."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize, to_rgb
from matplotlib.image import AxesImage
from matplotlib.patches import Patch, Rectangle

from attncli.data import Array, Attention, LayerMaps
from attncli.plotting.colours import COLOURS, begins_light, colour_map, masked_colour
from attncli.plotting.text import style

# A pooled cell has the largest state of its parts: one drawn weight is shown, whatever is around it.
INVISIBLE, UNDEFINED, DRAWN, GAP = 0, 1, 2, 3
DECADES = 4
"""Powers of ten of a logarithmic colour scale."""
HATCHED: dict[str, Any] = {"facecolor": "white", "edgecolor": "#b0b0b0", "hatch": "xxxxxx", "linewidth": 0}
"""The look of undefined cells."""
_FRAME = "#8a8a8a"


@dataclass(frozen=True, eq=False)
class Cells:
    """Weights [..., query, key] float32 and the state of each cell, in the same shape."""

    weights: Array
    state: Array

    def pooled(self, down: int, across: int, mean: bool = False) -> Cells:
        """Return blocks of `down` x `across` cells as their largest weight, which keeps strong ones, or their mean."""
        if down == across == 1:
            return self
        state = _reduce_blocks(np.maximum, self.state, down, across, INVISIBLE)
        drawn = self.state == DRAWN
        if mean:
            counts = _reduce_blocks(np.add, drawn.astype(np.float64), down, across, 0)
            sums = _reduce_blocks(np.add, np.where(drawn, self.weights, 0.0), down, across, 0)
            weights = sums / np.maximum(counts, 1)
        else:
            weights = _reduce_blocks(np.maximum, np.where(drawn, self.weights, -np.inf), down, across, -np.inf)
        return Cells(np.where(state == DRAWN, weights, 0).astype(np.float32), state)

    @property
    def drawn(self) -> Array:
        """The weights that have a colour, as a flat array."""
        weights: Array = self.weights[self.state == DRAWN]
        return weights


def layer_cells(maps: LayerMaps) -> Cells:
    """Return all maps of a layer as cells [head, query, key].

    A row without any weight is undefined, also at its masked keys, so that it looks the same whatever its mask is.
    """
    weights = np.asarray(maps.weights)
    known = np.isfinite(weights)
    state = np.where(known, DRAWN, UNDEFINED)
    if maps.visible is not None:
        state = np.where(maps.visible | ~known.any(-1, keepdims=True), state, INVISIBLE)
    return Cells(weights, state.astype(np.uint8))


def largest_weight(attentions: Iterable[Attention]) -> float:
    """Return the largest visible weight of all maps, the top of a shared colour scale; 1 where all are 0."""
    tops = [layer_cells(maps).drawn.max(initial=0.0) for attention in attentions for maps in attention.layers]
    return float(max(tops, default=0.0)) or 1.0


def colour_norm(drawn: Array, vmax: float | None, log: bool) -> tuple[Normalize, str]:
    """Return the colour scale for these weights, and at which ends some lie beyond it (matplotlib's `extend`)."""
    largest = float(drawn.max(initial=0.0))
    high = vmax or largest or 1.0
    low = high / 10**DECADES if log else min(0.0, float(drawn.min(initial=0.0)))
    beyond = (bool((drawn < low).any()), largest > high * (1 + 1e-6))
    extend = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}[beyond]
    return (LogNorm(low, high, clip=True) if log else Normalize(low, high)), extend


def _reduce_blocks(operation: np.ufunc, values: Array, down: int, across: int, fill: float) -> Array:
    """Return `values` [..., row, column] with each block of `down` x `across` reduced to one number."""
    rows, columns = values.shape[-2:]
    edge = [(0, 0)] * (values.ndim - 2) + [(0, -rows % down), (0, -columns % across)]
    padded = np.pad(values, edge, constant_values=fill)
    shape = (*values.shape[:-2], padded.shape[-2] // down, down, padded.shape[-1] // across, across)
    blocks: Array = operation.reduce(padded.reshape(shape), axis=(-3, -1))
    return blocks


def draw_cells(axes: Axes, cells: Cells, norm: Normalize, colours: str = COLOURS, *, framed: bool = True) -> AxesImage:
    """Draw the cells, first row on top, and return the image: masked keys are grey, undefined weights hatched.

    colours  `COLOURS` or `DIVERGING`, which the user's choice may replace
    framed   whether the cells have a frame if small weights are as light as the page
    """
    rows, columns = cells.state.shape
    image_style: dict[str, Any] = {"aspect": "auto", "interpolation": "none", "extent": (0, columns, rows, 0)}
    if (cells.state != DRAWN).any():
        background = np.zeros((rows, columns, 4), np.uint8)
        background[cells.state == INVISIBLE] = [*(round(255 * part) for part in to_rgb(masked_colour())), 255]
        background[cells.state == GAP] = 0xFF
        axes.imshow(background, zorder=0, **image_style)
    if (cells.state == UNDEFINED).any():
        axes.set_frame_on(True)
        axes.patch.set(**HATCHED)
        for spine in axes.spines.values():
            spine.set_visible(False)
    if framed and begins_light(colours):
        draw_frame(axes, (0, 0), (rows, columns))
    weights = np.ma.masked_array(cells.weights, cells.state != DRAWN)
    return axes.imshow(weights, cmap=colour_map(colours), norm=norm, zorder=1, **image_style)


def draw_frame(axes: Axes, corner: tuple[float, float], size: tuple[int, int]) -> None:
    """Draw a thin frame around `size` cells (rows, columns) whose first is at `corner` (top, left)."""
    look: dict[str, Any] = {"fill": False, "edgecolor": _FRAME, "linewidth": 0.6, "zorder": 2.5, "clip_on": False}
    axes.add_patch(Rectangle(corner[::-1], size[1], size[0], **look))


def write_values(axes: Axes, cells: Cells, image: AxesImage) -> None:
    """Write each drawn value into its cell, in black or white, whichever is readable on the colour of the cell."""
    drawn = np.abs(cells.weights[cells.state == DRAWN])
    top = float(drawn.max()) if drawn.size else 0.0
    inks = np.where(image.to_rgba(cells.weights)[..., :3] @ (0.3, 0.59, 0.11) < 0.55, "white", "black")
    for row, column in zip(*np.nonzero(cells.state == DRAWN), strict=True):
        value, ink = cells.weights[row, column], str(inks[row, column])
        axes.text(column + 0.5, row + 0.5, format_value(float(value), top), **style(7.5, ink, ha="center", va="center"))


def format_value(value: float, top: float) -> str:
    """Return a number in as few characters as distinguish it from others; `top` is the largest of the picture.

    >>> format_value(0.254, 0.9), format_value(12.34, 12.34), format_value(-0.0123, 0.03), format_value(0.0001, 0.03)
    ('0.25', '12', '-.012', '0')
    """
    if abs(value) >= 10:
        return f"{value:.0f}"
    if top >= 0.05 or top == 0:
        return f"{value:.2f}"
    decimals = min(3, 1 - math.floor(math.log10(top)))
    text = f"{value:.{decimals}f}".replace("0.", ".", 1)
    return text if text.strip("-.0") else "0"


def missing_legend(state: Array, masked: str = "masked key") -> list[Patch]:
    """Return legend entries for masked and undefined cells, where `state` has any.

    masked  what masked cells are
    """
    handles = []
    if (state == INVISIBLE).any():
        handles.append(Patch(facecolor=masked_colour(), label=masked))
    if (state == UNDEFINED).any():
        handles.append(Patch(**HATCHED, label="undefined"))
    return handles
