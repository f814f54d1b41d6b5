"""The colours behind highlighted words: from the colour of the page to the strongest, on light and dark pages."""

from functools import cache

LEVELS = 64
SIGNED_LEVELS = 65
"""Colours on both sides of 0; the one in the middle is that of the page."""
LIGHT_PAGE, DARK_PAGE = "#ffffff", "#15171c"
_LIGHT = (LIGHT_PAGE, "#ffebb0", "#fed480", "#fca542", "#e2660f", "#a83c07", "#5c1f05")
_DARK = (DARK_PAGE, "#3a290e", "#5e3b0b", "#93590a", "#cb8317", "#f2b84b", "#fff0c2")
_LIGHT_BELOW = (LIGHT_PAGE, "#d6e6f5", "#a8cbe8", "#6aa6d6", "#3078b4", "#15508c", "#082c54")
_DARK_BELOW = (DARK_PAGE, "#10263c", "#153c60", "#1c5f96", "#3a8fce", "#83c0ee", "#d6ebff")


def colour_level(weight: float, top: float) -> int:
    """Return which of the `LEVELS` colours a weight gets on a scale from 0 to `top`.

    >>> colour_level(0.0, 0.5), colour_level(0.25, 0.5), colour_level(0.5, 0.5)
    (0, 32, 63)
    """
    return round(min(max(weight / top, 0.0), 1.0) * (LEVELS - 1))


def signed_level(weight: float, top: float) -> int:
    """Return which of the `SIGNED_LEVELS` colours a weight gets on a scale from -`top` to `top`.

    >>> signed_level(-0.5, 0.5), signed_level(0.0, 0.5), signed_level(0.5, 0.5)
    (0, 32, 64)
    """
    return round((min(max(weight / top, -1.0), 1.0) + 1) / 2 * (SIGNED_LEVELS - 1))


@cache
def level_colours(dark: bool = False) -> tuple[str, ...]:
    """Return the colour of each level, interpolated between a few fixed ones."""
    return _interpolated(_DARK if dark else _LIGHT, LEVELS)


@cache
def signed_colours(dark: bool = False) -> tuple[str, ...]:
    """Return the colour of each signed level: blue below 0, the colours of `level_colours` above."""
    half = SIGNED_LEVELS // 2 + 1
    below = _interpolated(_DARK_BELOW if dark else _LIGHT_BELOW, half)
    return (*below[:0:-1], *_interpolated(_DARK if dark else _LIGHT, half))


def _interpolated(fixed: tuple[str, ...], count: int) -> tuple[str, ...]:
    """Return this many colours along fixed ones."""
    anchors = [_channels(colour) for colour in fixed]
    colours = []
    for number in range(count):
        position = number / (count - 1) * (len(anchors) - 1)
        first = min(int(position), len(anchors) - 2)
        mixed = [low + (high - low) * (position - first) for low, high in zip(*anchors[first : first + 2], strict=True)]
        colours.append("#" + "".join(f"{round(channel):02x}" for channel in mixed))
    return tuple(colours)


def readable_ink(background: str) -> str:
    """Return black or white, whichever has more contrast with the background: at least 4.5 to 1."""
    return max(("#000000", "#ffffff"), key=lambda colour: contrast(colour, background))


def contrast(colour: str, other: str) -> float:
    """Return the contrast of two colours by WCAG 2, from 1 to 21.

    >>> contrast("#000000", "#ffffff")
    21.0
    """
    low, high = sorted(map(_luminance, (colour, other)))
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: str) -> float:
    shares = [channel / 255 for channel in _channels(colour)]
    red, green, blue = (share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _channels(colour: str) -> list[int]:
    return [int(colour[first : first + 2], 16) for first in (1, 3, 5)]
