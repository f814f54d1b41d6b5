"""The one labeller: exact vocabulary pieces → text that a person can read on an axis.

Labels are for the eye only; data and files keep the exact pieces. What would be invisible, break the layout
or turn the reading direction is shown escaped:

    space before or after a word   ·the          bytes that are no whole character   ⟨E2 80⟩
    newline, tab, control          \\n \\t \\x1b    other invisible characters          ⟨U+202E⟩
    no text at all                 ⟨empty⟩
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache

from attncli.data.tokens import Scheme, Tokens

WIDTH = 20
SPACE = "·"
EMPTY = "⟨empty⟩"
_ESCAPES = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}
_JOINERS = "\u200c\u200d\ufe0e\ufe0f"
_LEFT_TO_RIGHT = "\u200e"
_STACK = 3
_BAD_BYTES = re.compile("[\udc80-\udcff]+")
_BYTE_PIECE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def labels(tokens: Tokens, width: int = WIDTH) -> list[str]:
    """One label per token, at most `width` columns wide (east Asian characters take two)."""
    return [
        label(piece, "plain" if special else tokens.scheme, width)
        for piece, special in zip(tokens.pieces, tokens.special.tolist(), strict=True)
    ]


def label(piece: str, scheme: Scheme = "plain", width: int = WIDTH) -> str:
    """What to show for one piece.

    >>> label("Ġthe", "bytelevel"), label("▁the", "metaspace"), label("##ing", "wordpiece")
    ('·the', '·the', '##ing')
    >>> label("âĢ", "bytelevel"), label("<0x0A>", "metaspace")
    ('⟨E2 80⟩', '\\\\n')
    """
    return _shorten(visible(text_of(piece, scheme)), width)


def text_of(piece: str, scheme: Scheme) -> str:
    """The text that a piece stands for; bytes that are no whole character become lone surrogates."""
    if scheme == "bytelevel" and all(char in _byte_of() for char in piece):
        return bytes(_byte_of()[char] for char in piece).decode("utf-8", "surrogateescape")
    if scheme == "metaspace":
        if byte := _BYTE_PIECE.fullmatch(piece):
            return bytes.fromhex(byte[1]).decode("utf-8", "surrogateescape")
        return piece.replace("▁", " ")
    return piece


@cache
def _byte_of() -> dict[str, int]:
    """GPT-2's alphabet: printable Latin-1 bytes stand for themselves, the others follow from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}


def visible(text: str) -> str:
    """The text with everything shown that one could not see or that would break the line."""
    core = text.strip(" ")
    if not core:
        return SPACE * len(text) or EMPTY
    before = len(text) - len(text.lstrip(" "))
    after = len(text) - before - len(core)
    core = _BAD_BYTES.sub(lambda bad: f"⟨{' '.join(f'{ord(char) - 0xDC00:02X}' for char in bad[0])}⟩", core)
    shown = "".join(_shown(core, at) for at in range(len(core)))
    return SPACE * before + _unstack(shown) + SPACE * after


def _shown(text: str, at: int) -> str:
    char = text[at]
    if char == " " or (char.isprintable() and char not in _JOINERS):
        return char
    if char in _ESCAPES:
        return _ESCAPES[char]
    if unicodedata.category(char) == "Cc":
        return f"\\x{ord(char):02x}"
    if char in _JOINERS and 0 < at < len(text) - (char <= "\u200d") and not text[at - 1].isascii():
        return char
    return f"⟨U+{ord(char):04X}⟩"


def label_with_position(shown: str, position: int) -> str:
    """A label with its position behind it, also in scripts that run from right to left."""
    turned = any(unicodedata.bidirectional(char) in ("R", "AL") for char in shown)
    return f"{shown}{_LEFT_TO_RIGHT if turned else ''} {position}"


def _unstack(text: str) -> str:
    """No more than a few marks on one base character, so that a label stays in its line."""
    kept = ["◌"] if unicodedata.combining(text[0]) else []
    marks = 0
    for char in text:
        marks = marks + 1 if unicodedata.combining(char) else 0
        if marks <= _STACK:
            kept.append(char)
    return "".join(kept)


def _shorten(text: str, width: int) -> str:
    if sum(map(_columns, text)) <= width:
        return text
    kept, used = [], 1
    for char in text:
        used += _columns(char)
        if used > width:
            break
        kept.append(char)
    return "".join(kept) + "…"


def _columns(char: str) -> int:
    if unicodedata.combining(char) or char in _JOINERS:
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
