"""The look of all pictures, whatever a user's matplotlib settings are; and text: fonts, style and size in pixels."""

import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import cache, wraps
from typing import Any, ParamSpec

import matplotlib
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, fontManager

_Args = ParamSpec("_Args")
DPI = 150
TITLE, SUBTITLE, SMALL = 10.5, 8.0, 7.5
INK, FAINT = "#1a1a1a", "#666666"
# Versions of matplotlib before 3.11 cannot draw some scripts; the second phrase is their warning.
GLYPH_WARNING = r"(?s)Glyph \d+ .*missing from|Matplotlib currently does not support"

# Tried after DejaVu Sans, which comes with matplotlib. Colour emoji fonts are bitmaps: matplotlib cannot draw them.
_FALLBACKS = (
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "Noto Sans JP", "Noto Sans KR", "Source Han Sans"),
    *("WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "PingFang SC", "Hiragino Sans", "Microsoft YaHei", "Yu Gothic"),
    *("Malgun Gothic", "Noto Sans Arabic", "Noto Sans Hebrew", "Noto Sans Devanagari", "Noto Sans Bengali"),
    *("Noto Sans Tamil", "Noto Sans Thai", "Noto Emoji", "Segoe UI Emoji", "Segoe UI Symbol", "Symbola"),
    *("Noto Sans Symbols", "Noto Sans Symbols 2", "Noto Sans Math", "Arial Unicode MS", "Unifont"),
)
_SETTINGS = {"svg.hashsalt": "attncli", "svg.fonttype": "path", "image.composite_image": False, "hatch.linewidth": 0.6}


def fixed_style() -> AbstractContextManager[None]:
    """Return a context in which matplotlib has its defaults and a few settings of attncli."""
    settings: Any = {name: value for name, value in matplotlib.rcParamsDefault.items() if name != "backend"}
    return matplotlib.rc_context(settings | _SETTINGS)


def with_fixed_style(draw: Callable[_Args, Figure]) -> Callable[_Args, Figure]:
    """Return the `draw` function so that it runs under `fixed_style`."""

    @wraps(draw)
    def styled(*args: _Args.args, **kwargs: _Args.kwargs) -> Figure:
        with fixed_style():
            return draw(*args, **kwargs)

    return styled


@cache
def fonts() -> tuple[str, ...]:
    """Return the installed font families that are tried in turn for each character."""
    installed = {entry.name for entry in fontManager.ttflist}
    return ("DejaVu Sans", *(name for name in _FALLBACKS if name in installed))


def style(size: float, color: str = INK, **more: object) -> dict[str, Any]:
    """Return keyword arguments for a matplotlib text; a `$` is drawn as it is, whatever the user's settings are.

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
    """Return the largest width and height of these texts and of a plain "Ag", in pixels."""
    font = FontProperties(family=list(fonts())[: None if weight == "normal" else 1], size=size, weight=weight)
    extents = _extents({"Ag", *texts}, font).values()
    return max(width for width, _ in extents), max(height for _, height in extents)


def text_widths(texts: Sequence[str], size: float) -> list[float]:
    """Return the width of each text in pixels."""
    extents = _extents(set(texts), FontProperties(family=list(fonts()), size=size))
    return [extents[text][0] for text in texts]


def _extents(texts: set[str], font: FontProperties) -> dict[str, tuple[float, float]]:
    """Return (width, height) of each text in pixels."""
    renderer = _renderer()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", GLYPH_WARNING)
        return {text: renderer.get_text_width_height_descent(text, font, False)[:2] for text in texts}


def shorten_middle(text: str, size: float, width: float, weight: str = "normal") -> str:
    """Return the text; if it is wider than `width` pixels, cut its middle (the ends of a model name identify it)."""
    kept = len(text)
    shortened = text
    while kept > 8 and measure([shortened], size, weight)[0] > width:
        kept = min(kept - 1, int(kept * 0.95))
        shortened = f"{text[: kept // 2]}…{text[len(text) - (kept - kept // 2) :]}"
    return shortened


@cache
def _renderer() -> Any:
    make: Any = RendererAgg
    return make(16, 16, DPI)
