"""The colours behind words: from the colour of the page to the strongest, on light pages and on dark ones."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

LEVELS = 64
PAPER, NIGHT = "#ffffff", "#15171c"
_LIGHT = (PAPER, "#ffebb0", "#fed480", "#fca542", "#e2660f", "#a83c07", "#5c1f05")
_DARK = (NIGHT, "#3a290e", "#5e3b0b", "#93590a", "#cb8317", "#f2b84b", "#fff0c2")
_BLACK, _WHITE = "#000000", "#ffffff"


def level(weight: float, top: float) -> int:
    """Which of the `LEVELS` colours a weight gets on a scale that ends at `top`.

    >>> level(0.0, 0.5), level(0.25, 0.5), level(0.5, 0.5)
    (0, 32, 63)
    """
    return round(min(max(weight / top, 0.0), 1.0) * (LEVELS - 1))


@cache
def colours(dark: bool = False) -> tuple[str, ...]:
    """The colour of each level."""
    anchors = [_channels(colour) for colour in (_DARK if dark else _LIGHT)]
    found = []
    for number in range(LEVELS):
        at = number / (LEVELS - 1) * (len(anchors) - 1)
        first = min(int(at), len(anchors) - 2)
        mixed = [low + (high - low) * (at - first) for low, high in zip(*anchors[first : first + 2], strict=True)]
        found.append("#" + "".join(f"{round(channel):02x}" for channel in mixed))
    return tuple(found)


def ink(background: str) -> str:
    """Black or white, whichever stands out more from a colour: always by 4.5 to 1 at least."""
    return max((_BLACK, _WHITE), key=lambda colour: contrast(colour, background))


def contrast(one: str, other: str) -> float:
    """The contrast of two colours as WCAG 2 has it, from 1 to 21.

    >>> contrast("#000000", "#ffffff")
    21.0
    """
    low, high = sorted(map(_luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: str) -> float:
    shares = [channel / 255 for channel in _channels(colour)]
    red, green, blue = (share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _channels(colour: str) -> Sequence[int]:
    return [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
