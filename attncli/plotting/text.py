"""How words are set in pictures: in installed fonts, never as mathematics, measured before they are drawn."""

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
# Matplotlib before 3.11 could not set some scripts at all, and says so in other words.
GLYPH_WARNING = r"(?s)Glyph \d+ .*missing from|Matplotlib currently does not support"

# Behind DejaVu Sans, which comes with matplotlib. Colour emoji fonts are bitmaps that matplotlib cannot set.
_FALLBACKS = (
    *(
        "Noto Sans CJK SC",
        "Noto Sans CJK JP",
        "Noto Sans SC",
        "Noto Sans JP",
        "Noto Sans KR",
        "Source Han Sans",
    ),
    *(
        "WenQuanYi Micro Hei",
        "WenQuanYi Zen Hei",
        "PingFang SC",
        "Hiragino Sans",
        "Microsoft YaHei",
        "Yu Gothic",
        "Malgun Gothic",
    ),
    *("Noto Sans Arabic", "Noto Sans Hebrew", "Noto Sans Devanagari", "Noto Sans Bengali", "Noto Sans Tamil"),
    *("Noto Sans Thai", "Noto Emoji", "Segoe UI Emoji", "Segoe UI Symbol", "Symbola", "Noto Sans Symbols"),
    *("Noto Sans Symbols 2", "Noto Sans Math", "Arial Unicode MS", "Unifont"),
)


@cache
def fonts() -> tuple[str, ...]:
    """The font families to try in turn for each character; only installed ones, as others warn."""
    installed = {entry.name for entry in fontManager.ttflist}
    return ("DejaVu Sans", *(name for name in _FALLBACKS if name in installed))


def style(size: float, color: str = INK, **more: Any) -> dict[str, Any]:
    """Arguments for every text: a `$` is a dollar sign, whatever the user's own matplotlib settings say.

    Bold is for our own words only: few fallback fonts have it, and matplotlib warns of each that has not.
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
    """Width of the widest and height of the highest of these texts, in pixels."""
    font = FontProperties(family=list(fonts())[: None if weight == "normal" else 1], size=size, weight=weight)
    renderer: Any = _renderer()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", GLYPH_WARNING)
        sizes = [renderer.get_text_width_height_descent(text, font, False) for text in {"Ag", *texts}]
    return max(width for width, _, _ in sizes), max(height for _, height, _ in sizes)


def widths(texts: Sequence[str], size: float) -> list[float]:
    """The width of each text, in pixels."""
    font = FontProperties(family=list(fonts()), size=size)
    renderer: Any = _renderer()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", GLYPH_WARNING)
        known = {text: renderer.get_text_width_height_descent(text, font, False)[0] for text in set(texts)}
    return [known[text] for text in texts]


def fit(text: str, size: float, width: float, weight: str = "normal") -> str:
    """The text without its middle where it is wider than `width` pixels; both ends tell a model."""
    keep = len(text)
    shown = text
    while keep > 8 and measure([shown], size, weight)[0] > width:
        keep = min(keep - 1, int(keep * 0.95))
        shown = f"{text[: keep // 2]}…{text[len(text) - (keep - keep // 2) :]}"
    return shown


@cache
def _renderer() -> Any:
    make: Any = RendererAgg
    return make(16, 16, DPI)
