"""Figures as the bytes of picture files: the same bytes for the same figure at any time."""

import os
import re
import warnings
from datetime import UTC, datetime
from io import BytesIO
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from attncli.errors import UsageError, did_you_mean
from attncli.plotting.missing_fonts import warn_missing
from attncli.plotting.picture_style import current_style
from attncli.plotting.text import GLYPH_WARNING, TEXTS_STAY_TEXTS, fixed_style

FORMATS = ("png", "svg", "pdf")
_LONGEST_SIDE, _MOST_PIXELS = 65_000, 400_000_000
_TEXT_STYLE = re.compile(rb'(?<=<text style=")[^"]*')
_FAMILY = re.compile(rb"(font-family: |font: (?:[^;']* )?[0-9.]+px )[^;]*")


class ShownFigure(Figure):
    """A figure that a notebook shows as the value of a cell, without `%matplotlib inline`."""

    def _repr_png_(self) -> bytes:
        return render(self, "png")

    def savefig(self, fname: Any, **options: Any) -> None:
        """Write the figure to a file as matplotlib does; texts stay texts in SVG and PDF."""
        with matplotlib.rc_context(TEXTS_STAY_TEXTS):
            super().savefig(fname, **options)


def render(figure: Figure, format: str, *, description: str = "") -> bytes:
    """Return the figure as the bytes of a png, svg or pdf file; raise UsageError for another format.

    `description` goes into the metadata of the file. One warning names the characters that no installed font has.
    """
    if format not in FORMATS:
        raise UsageError(f"unknown picture format '{format}': {did_you_mean(format, FORMATS)}")
    if format == "pdf":
        _check_date()
    if format == "png":
        _check_pixels(figure)
    description = description.encode("utf-8", "backslashreplace").decode()  # half surrogates are in no file
    described = {"Description": description} if description else {}
    # no dates: the bytes must not depend on the time
    metadata: dict[str, dict[str, Any]] = {
        "png": {"Software": "attncli", **described},
        "svg": {"Creator": "attncli", "Date": None, **described},
        "pdf": {"Creator": "attncli", "Producer": "attncli", "CreationDate": None, "Subject": description or None},
    }
    buffer = BytesIO()
    with fixed_style(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        figure.savefig(buffer, format=format, dpi=figure.dpi, metadata=metadata[format])
    codes = set()
    for warning in caught:
        if not re.match(GLYPH_WARNING, str(warning.message)):
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
        elif glyph := re.match(r"Glyph (\d+) ", str(warning.message)):
            codes.add(int(glyph[1]))
    warn_missing(codes)
    return _with_families(buffer.getvalue()) if format == "svg" else buffer.getvalue()


def _with_families(svg: bytes) -> bytes:
    """Return an SVG file whose texts name fonts that other machines have too, after the one that they were drawn with.

    The fonts of this machine for rare scripts are left out: each reader has its own.
    """
    families = current_style().css_families.encode()
    return _TEXT_STYLE.sub(lambda style: _FAMILY.sub(lambda family: family[1] + families, style[0]), svg)


def _check_pixels(figure: Figure) -> None:
    """Raise UsageError for a figure with more pixels than can be drawn."""
    width, height = figure.get_size_inches() * figure.dpi
    if max(width, height) > _LONGEST_SIDE or width * height > _MOST_PIXELS:
        most = min(_LONGEST_SIDE / max(width, height), (_MOST_PIXELS / (width * height)) ** 0.5) * figure.dpi
        raise UsageError(
            f"a picture of {width:,.0f} x {height:,.0f} pixels is too large: --dpi {most:.0f} is the most at its size, "
            "or give a smaller --figsize, or --format pdf"
        )


def _check_date() -> None:
    """Raise UsageError for a date of the environment that matplotlib cannot read; the file has no date anyway."""
    date = os.environ.get("SOURCE_DATE_EPOCH")
    try:
        datetime.fromtimestamp(int(date or 0), UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise UsageError(f"SOURCE_DATE_EPOCH is '{date}': expected seconds since 1970; unset it") from error
