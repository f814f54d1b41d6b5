"""The colour maps of pictures, and what must be seen on top of them: masked keys and the lines between parts."""

from __future__ import annotations

from functools import cache

import matplotlib
import numpy as np
from matplotlib.colors import to_hex, to_rgb

from attncli.plotting.picture_style import current_style

COLOURS, DIVERGING = "viridis", "RdBu_r"
# the first that is far from all colours of the map is taken
_MASKED = ("#d9d9d9", "#f0e0c4", "#c9dcf0", "#f6d5dc", "#cfe6cf", "#8a8a8a")
_FAR = 0.12
_LIGHT = 0.6
"""Luminance above which a colour is light."""


def colour_map(usual: str = COLOURS) -> str:
    """Return the name of a colour map: the user's choice, which replaces `DIVERGING` only if it is diverging."""
    style = current_style()
    replaced = usual == COLOURS or (usual == DIVERGING and style.diverging)
    return style.cmap if style.cmap is not None and replaced else usual


def masked_colour() -> str:
    """Return the colour of masked keys, which differs from all colours of the map of weights."""
    return _masked_colour(colour_map())


@cache
def _masked_colour(name: str) -> str:
    colours = matplotlib.colormaps[name](np.linspace(0, 1, 256))[:, :3]
    distances = {colour: np.linalg.norm(colours - to_rgb(colour), axis=1).min() for colour in _MASKED}
    far = [colour for colour, distance in distances.items() if distance >= _FAR]
    return far[0] if far else max(distances, key=lambda colour: distances[colour])


def begins_light(usual: str = COLOURS) -> bool:
    """Return whether small weights are so light that they look like the page."""
    lowest = matplotlib.colormaps[colour_map(usual)](0.0)[:3]
    return bool(np.dot(lowest, (0.3, 0.59, 0.11)) > _LIGHT)


def line_colour() -> str:
    """Return the colour of lines across a map: black where small weights are light, else white."""
    return "black" if begins_light() else "white"


def palette(count: int, usual: str = COLOURS) -> list[str]:
    """Return this many colours along the map of weights, or along another one of ours that the user may replace."""
    return [to_hex(colour) for colour in matplotlib.colormaps[colour_map(usual)](np.linspace(0, 1, count))]
