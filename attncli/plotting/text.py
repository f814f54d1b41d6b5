"""Text in pictures: installed fonts with fallbacks, never read as mathematics, measured before it is drawn."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cache
from typing import Any

from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.font_manager import FontProperties, fontManager

DPI = 150
TITLE, SUBTITLE, SMALL = 10.5, 8.0, 7.5
INK, FAINT = "#1a1a1a", "#666666"
# Versions of matplotlib before 3.11 could not set some scripts at all; the second phrase is their warning.
GLYPH_WARNING = r"(?s)Glyph \d+ .*missing from|Matplotlib currently does not support"

# They follow DejaVu Sans, which comes with matplotlib. Colour emoji fonts are bitmaps, which matplotlib cannot set.
_FALLBACKS = (
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "Noto Sans JP", "Noto Sans KR", "Source Han Sans"),
    *("WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "PingFang SC", "Hiragino Sans", "Microsoft YaHei", "Yu Gothic"),
    *("Malgun Gothic", "Noto Sans Arabic", "Noto Sans Hebrew", "Noto Sans Devanagari", "Noto Sans Bengali"),
    *("Noto Sans Tamil", "Noto Sans Thai", "Noto Emoji", "Segoe UI Emoji", "Segoe UI Symbol", "Symbola"),
    *("Noto Sans Symbols", "Noto Sans Symbols 2", "Noto Sans Math", "Arial Unicode MS", "Unifont"),
)


@cache
def fonts() -> tuple[str, ...]:
    """Return the installed font families to try in turn for each character; matplotlib warns of others."""
    installed = {entry.name for entry in fontManager.ttflist}
    return ("DejaVu Sans", *(name for name in _FALLBACKS if name in installed))


def style(size: float, color: str = INK, **more: object) -> dict[str, Any]:
    """Return the keyword arguments of a text: a `$` is a dollar sign, whatever the user's matplotlib settings are.

    A text with a `weight`, such as bold, uses DejaVu Sans alone: few fallback fonts have bold letters, and matplotlib
    warns of each that has none.
    """
    return {
        "fontsize": size,
        "fontfamily": list(fonts())[: 1 if "weight" in more else None],
        "color": color,
        "parse_math": False,
        "usetex": False,
        **more,
    }


def measure(texts: Sequence[str], size: float, weight: str = "normal") -> tuple[float, float]:
    """Return the width of the widest text and the height of the highest, in pixels; of a plain line without texts."""
    font = FontProperties(family=list(fonts())[: None if weight == "normal" else 1], size=size, weight=weight)
    extents = _extents({"Ag", *texts}, font).values()
    return max(width for width, _ in extents), max(height for _, height in extents)


def text_widths(texts: Sequence[str], size: float) -> list[float]:
    """Return the width of each text in pixels."""
    extents = _extents(set(texts), FontProperties(family=list(fonts()), size=size))
    return [extents[text][0] for text in texts]


def _extents(texts: set[str], font: FontProperties) -> dict[str, tuple[float, float]]:
    """Return (width, height) of each text in pixels."""
    renderer: Any = _renderer()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", GLYPH_WARNING)
        return {text: renderer.get_text_width_height_descent(text, font, False)[:2] for text in texts}


def shorten_middle(text: str, size: float, width: float, weight: str = "normal") -> str:
    """Return the text, without its middle where it is wider than `width` pixels; both ends identify a model."""
    keep = len(text)
    shortened = text
    while keep > 8 and measure([shortened], size, weight)[0] > width:
        keep = min(keep - 1, int(keep * 0.95))
        shortened = f"{text[: keep // 2]}…{text[len(text) - (keep - keep // 2) :]}"
    return shortened


@cache
def _renderer() -> RendererAgg:
    make: Any = RendererAgg
    renderer: RendererAgg = make(16, 16, DPI)
    return renderer
