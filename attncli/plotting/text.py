"""The look of all pictures, whatever a user's matplotlib settings are; and text: fonts, style and size in pixels."""

import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import cache, wraps
from typing import Any, ParamSpec

import matplotlib
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font, weight_dict

from attncli.data.labels import shorten
from attncli.plotting import page_scale
from attncli.plotting.picture_style import GENERIC_FONTS, current_style

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
TEXTS_STAY_TEXTS: Any = {"svg.fonttype": "none", "pdf.fonttype": 42}
"""Settings with which texts can be searched, and changed by an editor."""
_SETTINGS = {
    "svg.hashsalt": "attncli",
    **TEXTS_STAY_TEXTS,
    "image.composite_image": False,
    "hatch.linewidth": 0.6,
}
_BOLD = 600


def fixed_style() -> AbstractContextManager[None]:
    """Return a context in which matplotlib has its defaults and a few settings of attncli."""
    settings: Any = {name: value for name, value in matplotlib.rcParamsDefault.items() if name != "backend"}
    chosen = {"font.family": list(fonts())} if current_style().font else {}
    return matplotlib.rc_context(settings | _SETTINGS | chosen)


def with_fixed_style(draw: Callable[_Args, Figure]) -> Callable[_Args, Figure]:
    """Return the `draw` function so that it runs under `fixed_style`, and its figure has the size of the user."""

    @wraps(draw)
    def styled(*args: _Args.args, **kwargs: _Args.kwargs) -> Figure:
        with fixed_style(), page_scale.own_page():
            figure = draw(*args, **kwargs)
            while page_scale.needs_other_cells():
                figure = draw(*args, **kwargs)
            return page_scale.finish(figure, current_style().dpi or DPI)

    return styled


def fonts() -> tuple[str, ...]:
    """Return the installed font families that are tried in turn for each character; the user's choice is first."""
    chosen = current_style().font
    known = _known_fonts()
    return known if chosen is None else tuple(dict.fromkeys((GENERIC_FONTS.get(chosen, chosen), *known)))


@cache
def _known_fonts() -> tuple[str, ...]:
    installed = {entry.name for entry in fontManager.ttflist}
    return ("DejaVu Sans", *(name for name in _FALLBACKS if name in installed))


def style(size: float, color: str = INK, **more: Any) -> dict[str, Any]:
    """Return keyword arguments for a matplotlib text; a `$` is drawn as it is, whatever the user's settings are.

    A text with a `weight`, such as bold, uses the first font alone: few fallback fonts have bold letters, and
    matplotlib warns of each that has none. Sizes, and the `pad` of a title, are in points of a page of its own size.
    """
    scale = page_scale.current()
    if more.get("weight", "normal") == "normal" or not _bold_characters(fonts()[0]):
        more.pop("weight", None)
    if "pad" in more:
        more["pad"] *= scale
    return {
        "fontsize": size * scale,
        "fontfamily": list(fonts())[: 1 if "weight" in more else None],
        "color": color,
        "parse_math": False,
        "usetex": False,
        **more,
    }


def title_weight(text: str) -> str:
    """Return the weight of a title: bold if the first font has all its characters as bold letters, else normal."""
    return "bold" if set(map(ord, text)) <= _bold_characters(fonts()[0]) else "normal"


@cache
def _bold_characters(family: str) -> frozenset[int]:
    """Return the characters of the bold letters of a font; none if it has no bold letters."""
    weights = (entry.weight for entry in fontManager.ttflist if entry.name == family)
    if not any((weight if isinstance(weight, int) else weight_dict.get(weight, 0)) >= _BOLD for weight in weights):
        return frozenset()
    return frozenset(get_font(findfont(FontProperties(family=family, weight="bold"))).get_charmap())


def measure(texts: Sequence[str], size: float, weight: str = "normal") -> tuple[float, float]:
    """Return the largest width and height of these texts and of a plain "Ag", in pixels."""
    bold = weight != "normal" and _bold_characters(fonts()[0])
    families = list(fonts())[: 1 if bold else None]
    font = FontProperties(family=families, size=size, weight=weight if bold else "normal")
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


def fit_label(label: str, size: float, room: float) -> str:
    """Return a label; one of more than 20 columns is cut only where it is wider than `room` pixels."""
    shortest = shorten(label)
    if shortest == label or measure([shortest], size)[0] >= room:
        return shortest
    fitting, cut = len(shortest) - 1, len(label) + 1
    while cut - fitting > 1:  # the whole label is the last candidate
        middle = (fitting + cut) // 2
        candidate = label if middle == len(label) else f"{label[:middle]}…"
        fitting, cut = (middle, cut) if measure([candidate], size)[0] <= room else (fitting, middle)
    return label if fitting == len(label) else f"{label[:fitting]}…"


def shorten_middle(text: str, size: float, width: float, weight: str = "normal") -> str:
    """Return the text; if it is wider than `width` pixels, cut its middle (the ends of a model name identify it)."""
    kept = len(text)
    shortened = text
    while kept > 8 and (wide := measure([shortened], size, weight)[0]) > width:
        # of a text that is far too wide, first half as much again as fits: measuring thousands of letters takes long
        kept = max(8, min(kept - 1, int(kept * min(0.95, 1.5 * width / wide))))
        shortened = f"{text[: kept // 2]}…{text[len(text) - (kept - kept // 2) :]}"
    return shortened


@cache
def _renderer() -> Any:
    make: Any = RendererAgg
    return make(16, 16, DPI)
