"""The colours behind highlighted words: from the colour of the page to the strongest, on light and dark pages."""

from functools import cache

LEVELS = 64
LIGHT_PAGE, DARK_PAGE = "#ffffff", "#15171c"
_LIGHT = (LIGHT_PAGE, "#ffebb0", "#fed480", "#fca542", "#e2660f", "#a83c07", "#5c1f05")
_DARK = (DARK_PAGE, "#3a290e", "#5e3b0b", "#93590a", "#cb8317", "#f2b84b", "#fff0c2")


def colour_level(weight: float, top: float) -> int:
    """Return which of the `LEVELS` colours a weight gets on a scale from 0 to `top`.

    >>> colour_level(0.0, 0.5), colour_level(0.25, 0.5), colour_level(0.5, 0.5)
    (0, 32, 63)
    """
    return round(min(max(weight / top, 0.0), 1.0) * (LEVELS - 1))


@cache
def level_colours(dark: bool = False) -> tuple[str, ...]:
    """Return the colour of each level, interpolated between a few fixed ones."""
    anchors = [_channels(colour) for colour in (_DARK if dark else _LIGHT)]
    colours = []
    for number in range(LEVELS):
        position = number / (LEVELS - 1) * (len(anchors) - 1)
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
