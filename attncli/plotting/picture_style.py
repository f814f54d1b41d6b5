"""The look that a user chooses for pictures: their size, resolution, colours, title and font."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Unpack

import matplotlib
from matplotlib import rc_params_from_file
from matplotlib.font_manager import fontManager
from matplotlib.style import library as matplotlib_styles

from attncli.arguments import PictureArguments, check_options
from attncli.errors import UsageError, did_you_mean

GENERIC_FONTS = {"sans-serif": "DejaVu Sans", "serif": "DejaVu Serif", "monospace": "DejaVu Sans Mono"}
"""Names of kinds of fonts, and the font of each that comes with matplotlib."""
_SIMILAR = {
    "sans-serif": "'DejaVu Sans', Verdana, Arial, sans-serif",
    "serif": "'DejaVu Serif', Georgia, 'Times New Roman', serif",
    "monospace": "'DejaVu Sans Mono', Consolas, 'Courier New', monospace",
}
"""Fonts of a kind with letters of about the same width, as CSS names them."""
DIVERGING_MAPS = (
    *("PiYG", "PRGn", "BrBG", "PuOr", "RdGy", "RdBu", "RdYlBu", "RdYlGn", "Spectral", "coolwarm", "bwr", "seismic"),
    *("berlin", "managua", "vanimo"),
)
_SIDES, _DPIS = (0.5, 100.0), (10, 2400)


@dataclass(frozen=True)
class PictureStyle:
    """The look of pictures; None: as attncli draws them."""

    figsize: tuple[float, float] | None = None
    dpi: int | None = None
    cmap: str | None = None
    title: str | None = None
    font: str | None = None

    @classmethod
    def of(cls, **values: Unpack[PictureArguments]) -> PictureStyle:
        """Return the style of these values; raise UsageError if one is wrong."""
        check_options(values, PictureArguments)
        figsize, dpi = values.get("figsize"), values.get("dpi")
        low, high = _DPIS
        if dpi is not None and not low <= dpi <= high:
            raise UsageError(f"--dpi {dpi}: expected pixels per inch, from {low} to {high}")
        _check_name("cmap", values.get("cmap"), list(matplotlib.colormaps))
        _check_name("font", values.get("font"), {*GENERIC_FONTS, *(entry.name for entry in fontManager.ttflist)})
        chosen: Any = {**values, "figsize": None if figsize is None else _size(figsize)}
        return cls(**chosen)

    @property
    def chosen(self) -> dict[str, Any]:
        """The values that the user chose."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    @property
    def diverging(self) -> bool:
        """Whether the colour map has a middle."""
        return self.cmap is not None and self.cmap.removesuffix("_r") in DIVERGING_MAPS

    @property
    def css_families(self) -> str:
        """The font and those that may take its place on other machines, as CSS."""
        if self.font is None or self.font in GENERIC_FONTS:
            return _SIMILAR[self.font or "sans-serif"]
        kind = next((kind for kind, name in GENERIC_FONTS.items() if name == self.font), None)
        return _SIMILAR[kind] if kind else f"{_quoted(self.font)}, {_SIMILAR['sans-serif']}"


_USUAL = PictureStyle()
_current: ContextVar[PictureStyle] = ContextVar("attncli_picture_style", default=_USUAL)


def current_style() -> PictureStyle:
    """Return the style of the pictures that are drawn now."""
    return _current.get()


@contextmanager
def picture_style(style: PictureStyle | None) -> Iterator[None]:
    """Draw pictures in this style, inside the `with` block."""
    token = _current.set(style or _USUAL)
    try:
        yield
    finally:
        _current.reset(token)


@contextmanager
def changed_style(look: PictureArguments) -> Iterator[None]:
    """Draw pictures with these values in place of those of the current style, inside the `with` block."""
    with picture_style(PictureStyle(**{**current_style().chosen, **PictureStyle.of(**look).chosen})):
        yield


def is_matplotlib_style(name: str) -> bool:
    """Return whether this is a style of matplotlib: a file .mplstyle, or a name that it knows."""
    return (name.endswith(".mplstyle") and Path(name).is_file()) or name in matplotlib_styles


def close_styles(name: str) -> str:
    """Return the end of an error message about an unknown style of matplotlib."""
    return did_you_mean(name, matplotlib_styles)


def values_of_matplotlib_style(name: str) -> PictureArguments:
    """Return what a style of matplotlib says of size, resolution, colour map and font; other settings are not taken.

    Raise UsageError if the file cannot be read.
    """
    try:
        known: Any = matplotlib_styles.get(name)
        settings: Any = known or rc_params_from_file(name, use_default_template=False)
    except (OSError, ValueError) as error:  # an unknown setting is only a warning of matplotlib
        raise UsageError(f"the file cannot be read: {getattr(error, 'strerror', None) or error}") from error
    resolution = settings.get("savefig.dpi", "figure")
    resolution = settings.get("figure.dpi") if resolution == "figure" else resolution
    return {
        "figsize": tuple(settings["figure.figsize"]) if "figure.figsize" in settings else None,
        "dpi": None if resolution is None else round(float(resolution)),
        "cmap": settings.get("image.cmap"),
        "font": _installed_font(settings),
    }


def _installed_font(settings: Mapping[str, Any]) -> str | None:
    """Return the first installed font family that a style of matplotlib names; None if there is none."""
    installed = {entry.name for entry in fontManager.ttflist}
    for family in settings.get("font.family", ["sans-serif"] if "font.sans-serif" in settings else []):
        names = settings.get(f"font.{family}", [family]) if family in GENERIC_FONTS else [family]
        found = next((name for name in names if name in installed or name in GENERIC_FONTS), None)
        if found is not None:
            return str(found)
    return None


def _quoted(name: str) -> str:
    return "'{}'".format(name.replace("\\", "").replace("'", ""))


def _size(value: Sequence[float] | str) -> tuple[float, float]:
    """Return width and height in inches."""
    parts = re.split("[,x]", value) if isinstance(value, str) else value
    try:
        sides = [float(part) for part in parts]
    except (TypeError, ValueError):
        sides = []
    low, high = _SIDES
    if len(sides) != 2 or not all(math.isfinite(side) and low <= side <= high for side in sides):
        shown = value if isinstance(value, str) else ",".join(map(str, value))
        raise UsageError(f"--figsize '{shown}': expected width,height in inches, from {low} to {high:g}, such as 6,4")
    return sides[0], sides[1]


def _check_name(option: str, name: str | None, known: Collection[str]) -> None:
    if name is not None and name not in known:
        raise UsageError(f"unknown --{option} '{name}': {did_you_mean(name, known)}")
