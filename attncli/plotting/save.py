"""The one way from a figure to a file: whole or not at all, and the same bytes each time."""

from __future__ import annotations

import logging
import os
import re
import secrets
import unicodedata
import warnings
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from attncli.errors import OutputError, UsageError, did_you_mean
from attncli.plotting.text import GLYPH_WARNING
from attncli.plotting.theme import fixed_style

FORMATS = ("png", "svg", "pdf")
_log = logging.getLogger("attncli")
_told: set[int] = set()
_FONTS_FOR = {
    "CJK": "Noto Sans CJK",
    "HIRAGANA": "Noto Sans CJK",
    "KATAKANA": "Noto Sans CJK",
    "HANGUL": "Noto Sans CJK",
    "ARABIC": "Noto Sans Arabic",
    "HEBREW": "Noto Sans Hebrew",
    "DEVANAGARI": "Noto Sans Devanagari",
    "BENGALI": "Noto Sans Bengali",
    "TAMIL": "Noto Sans Tamil",
    "THAI": "Noto Sans Thai",
}


def save(figure: Figure, path: str | Path, *, format: str | None = None, description: str = "") -> None:
    """Write the figure to `path`; the format is that of the suffix unless given.

    The file appears whole or not at all: a temporary file in the same folder is flushed, then renamed.
    """
    target = Path(path)
    data = render(figure, format or target.suffix.lstrip(".").lower(), description=description)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        try:
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise OutputError(f"cannot write {target}: {error.strerror or error}; {_advice(error)}") from error


def render(figure: Figure, format: str, *, description: str = "") -> bytes:
    """The figure as the bytes of a png, svg or pdf file, the same for the same figure at any time.

    `description` goes into the file's metadata. Characters that no font has are named in one warning.
    """
    if format not in FORMATS:
        raise UsageError(f"unknown picture format '{format}': {did_you_mean(format, FORMATS)}")
    buffer = BytesIO()
    with fixed_style(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        figure.savefig(buffer, format=format, dpi=figure.dpi, metadata=_metadata(format, description))
    codes = set()
    for warning in caught:
        if not re.match(GLYPH_WARNING, str(warning.message)):
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
        elif glyph := re.match(r"Glyph (\d+) ", str(warning.message)):
            codes.add(int(glyph[1]))
    _tell_missing(codes)
    return buffer.getvalue()


def _metadata(format: str, description: str) -> dict[str, Any]:
    if format == "png":
        return {"Software": "attncli", **({"Description": description} if description else {})}
    if format == "svg":
        return {"Creator": "attncli", "Date": None, **({"Description": description} if description else {})}
    return {"Creator": "attncli", "Producer": "attncli", "CreationDate": None, "Subject": description or None}


def _tell_missing(codes: set[int]) -> None:
    """One warning, and none again for the same characters: a run may draw them in a hundred pictures."""
    new = sorted(codes - _told)
    if not new:
        return
    _told.update(new)
    characters = " ".join(map(chr, new[:12])) + (" …" if len(new) > 12 else "")
    names = (re.split("[ -]", unicodedata.name(chr(code), ""))[0] for code in new)
    wanted = dict.fromkeys(_FONTS_FOR.get(name, "Noto Sans Symbols and Noto Emoji") for name in names)
    _log.warning(
        "no installed font has %d of the characters (%s), they are drawn as boxes: install %s, "
        "then delete fontlist*.json in %s",
        *(len(new), characters, ", ".join(wanted), matplotlib.get_cachedir()),
    )


def _advice(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "create the folder first"
    if isinstance(error, PermissionError):
        return "choose a folder that you may write to with --out"
    return "free some space or choose another folder with --out"
