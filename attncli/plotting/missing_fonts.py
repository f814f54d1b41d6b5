"""One warning for all characters that no installed font has: the package to install, and how matplotlib finds it."""

import logging
import re
import unicodedata
from pathlib import Path

import matplotlib
from matplotlib.font_manager import findSystemFonts, fontManager, get_font

_log = logging.getLogger("attncli")
_warned_codes: set[int] = set()
_FONTS_FOR = {
    **dict.fromkeys(("CJK", "HIRAGANA", "KATAKANA", "HANGUL"), ("Noto Sans CJK", "fonts-noto-cjk")),
    "ARABIC": ("Noto Sans Arabic", "fonts-noto-core"),
    "HEBREW": ("Noto Sans Hebrew", "fonts-noto-core"),
    "DEVANAGARI": ("Noto Sans Devanagari", "fonts-noto-core"),
    "BENGALI": ("Noto Sans Bengali", "fonts-noto-core"),
    "TAMIL": ("Noto Sans Tamil", "fonts-noto-core"),
    "THAI": ("Noto Sans Thai", "fonts-noto-core"),
}
_SYMBOLS = (("Noto Sans Symbols", "fonts-noto-core"), ("Symbola", "fonts-symbola"))
"""Fonts of symbols and emoji. Colour emoji fonts are bitmaps, which matplotlib cannot draw."""


def warn_missing(codes: set[int]) -> None:
    """Warn of characters without a font, once for each character, as a run may draw it in a hundred pictures."""
    new = sorted(codes - _warned_codes)
    if not new:
        return
    _warned_codes.update(new)
    characters = " ".join(map(chr, new[:12])) + (" …" if len(new) > 12 else "")
    _log.warning(
        "no font that matplotlib knows has %d of the characters (%s), they are drawn as boxes: %s",
        *(len(new), characters, _advice(new)),
    )


def _advice(codes: list[int]) -> str:
    """Return what to do about characters without a font."""
    command = f"rm {Path(matplotlib.get_cachedir(), 'fontlist*.json')}"
    scripts = (re.split("[ -]", unicodedata.name(chr(code), ""))[0] for code in codes)
    needed = dict.fromkeys(
        pair for script in scripts for pair in ([_FONTS_FOR.get(script)] if script in _FONTS_FOR else _SYMBOLS)
    )
    fonts, packages = (dict.fromkeys(part) for part in zip(*needed, strict=True))
    install = f"install {' and '.join(fonts)} (on Debian and Ubuntu: apt install {' '.join(packages)})"
    if (file := _unlisted_font(set(codes))) is not None:
        return f"{file} has some of them, but is not in the list of fonts of matplotlib: {command}, then draw again"
    return f"{install}, then delete the list of fonts of matplotlib: {command}"


def _unlisted_font(codes: set[int]) -> str | None:
    """Return a font file of this machine that has some of the characters and that matplotlib has not listed."""
    listed = {str(Path(entry.fname).resolve()) for entry in fontManager.ttflist}
    for file in sorted(findSystemFonts()):
        if str(Path(file).resolve()) not in listed:
            try:
                found = not codes.isdisjoint(get_font(file).get_charmap())
            except (OSError, RuntimeError):  # a font that matplotlib cannot read, as it is of bitmaps
                continue
            if found:
                return file
    return None
