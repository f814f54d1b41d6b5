"""Figures as the bytes of picture files: the same bytes for the same figure at any time."""

import logging
import os
import re
import unicodedata
import warnings
from datetime import UTC, datetime
from io import BytesIO
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from attncli.errors import UsageError, did_you_mean
from attncli.plotting.text import GLYPH_WARNING, fixed_style

FORMATS = ("png", "svg", "pdf")
_log = logging.getLogger("attncli")
_warned_codes: set[int] = set()
_FONTS_FOR = {
    **dict.fromkeys(("CJK", "HIRAGANA", "KATAKANA", "HANGUL"), "Noto Sans CJK"),
    "ARABIC": "Noto Sans Arabic",
    "HEBREW": "Noto Sans Hebrew",
    "DEVANAGARI": "Noto Sans Devanagari",
    "BENGALI": "Noto Sans Bengali",
    "TAMIL": "Noto Sans Tamil",
    "THAI": "Noto Sans Thai",
}


class ShownFigure(Figure):
    """A figure that a notebook shows as the value of a cell, without `%matplotlib inline`."""

    def _repr_png_(self) -> bytes:
        return render(self, "png")


def render(figure: Figure, format: str, *, description: str = "") -> bytes:
    """Return the figure as the bytes of a png, svg or pdf file; raise UsageError for another format.

    `description` goes into the metadata of the file. One warning names the characters that no installed font has.
    """
    if format not in FORMATS:
        raise UsageError(f"unknown picture format '{format}': {did_you_mean(format, FORMATS)}")
    if format == "pdf":
        _check_date()
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
    _warn_missing(codes)
    return buffer.getvalue()


def _check_date() -> None:
    """Raise UsageError for a date of the environment that matplotlib cannot read; the file has no date anyway."""
    date = os.environ.get("SOURCE_DATE_EPOCH")
    try:
        datetime.fromtimestamp(int(date or 0), UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise UsageError(f"SOURCE_DATE_EPOCH is '{date}': expected seconds since 1970; unset it") from error


def _warn_missing(codes: set[int]) -> None:
    """Warn of characters without a font, once for each character, as a run may draw it in a hundred pictures."""
    new = sorted(codes - _warned_codes)
    if not new:
        return
    _warned_codes.update(new)
    characters = " ".join(map(chr, new[:12])) + (" …" if len(new) > 12 else "")
    scripts = (re.split("[ -]", unicodedata.name(chr(code), ""))[0] for code in new)
    needed_fonts = dict.fromkeys(_FONTS_FOR.get(script, "Noto Sans Symbols and Noto Emoji") for script in scripts)
    _log.warning(
        "no installed font has %d of the characters (%s), they are drawn as boxes: install %s, "
        "then delete fontlist*.json in %s",
        *(len(new), characters, ", ".join(needed_fonts), matplotlib.get_cachedir()),
    )
