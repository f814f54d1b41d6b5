"""Readable labels of tokens, made from vocabulary pieces.

Labels are for display only; data and files keep the exact pieces. Characters that are invisible, break the layout or
change the reading direction are escaped:

    space before or after a word   ·the          bytes of an incomplete character   ⟨E2 80⟩
    newline, tab, control          \\n \\t \\x1b    other invisible characters         ⟨U+202E⟩
    empty text                     ⟨empty⟩
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from functools import cache
from itertools import accumulate
from typing import Any, Literal, Protocol

Scheme = Literal[
    "plain", "wordpiece", "bytelevel", "metaspace", "suffix", "bytelevel-suffix", "continued", "bytes", "characters"
]
"""How pieces mark words: `##ing`, `Ġthe` in bytes, `▁the`, `the</w>`, this in bytes, `th@@`; bytes, characters."""
WIDTH = 20
SPACE = "·"
EMPTY = "⟨empty⟩"
_ESCAPES = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}
WORD_END = "</w>"
"""The end of pieces that end a word, in the schemes `suffix` and `bytelevel-suffix`."""
_JOINERS = "\u200c\u200d\ufe0e\ufe0f"
_LEFT_TO_RIGHT = "\u200e"
_MAX_MARKS = 3
_BAD_BYTES = re.compile("[\udc80-\udcff]+")
_BYTE_PIECE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def text_prefix(text: int, texts: int) -> str:
    """Return the prefix of file names of one of several texts; names sort as the texts do.

    >>> text_prefix(3, 12), text_prefix(3, 1200), text_prefix(0, 1)
    ('T003-', 'T0003-', '')
    """
    return f"T{text:0{max(3, len(str(texts - 1)))}}-" if texts > 1 else ""


def text_note(text: int, texts: int) -> str:
    """Return the note for a picture of one of several texts, with its number in files and documents.

    >>> text_note(3, 12), text_note(0, 1)
    ('text 3 (of 0-11)', '')
    """
    return f"text {text} (of 0-{texts - 1})" if texts > 1 else ""


class Pieces(Protocol):
    """Tokens, as far as labels need them."""

    @property
    def pieces(self) -> tuple[str, ...]:
        """Exact vocabulary pieces."""

    @property
    def special(self) -> Any:
        """Array of whether the tokenizer added the piece."""

    @property
    def scheme(self) -> Scheme:
        """How pieces mark words."""


def labels(tokens: Pieces, width: int = WIDTH) -> list[str]:
    """Return one label per token, at most `width` columns wide (East Asian characters take two)."""
    return [
        label(piece, "plain" if special else tokens.scheme, width)
        for piece, special in zip(tokens.pieces, tokens.special.tolist(), strict=True)
    ]


def first_labels(tokens: Pieces, most: int = 8) -> str:
    """Return the labels of the first tokens in one line."""
    shown = [
        label(piece, "plain" if special else tokens.scheme)
        for piece, special in zip(tokens.pieces[:most], tokens.special.tolist(), strict=False)
    ]
    return " ".join([*shown, *(["…"] if len(tokens.pieces) > most else [])])


def label(piece: str, scheme: Scheme = "plain", width: int = WIDTH) -> str:
    """Return the label of one piece.

    >>> label("Ġthe", "bytelevel"), label("▁the", "metaspace"), label("##ing", "wordpiece")
    ('·the', '·the', '##ing')
    >>> label("the</w>", "suffix"), label("мир", "suffix")
    ('the·', 'мир')
    >>> label("âĢ", "bytelevel"), label("<0x0A>", "metaspace")
    ('⟨E2 80⟩', '\\\\n')
    """
    return shorten(escape_invisible(piece_text(piece, scheme)), width)


def piece_text(piece: str, scheme: Scheme) -> str:
    """Return the text of a piece; bytes of an incomplete character become lone surrogates."""
    if scheme in ("suffix", "bytelevel-suffix") and piece.endswith(WORD_END):
        bare = piece.removesuffix(WORD_END)
        return piece_text(bare, "bytelevel" if scheme == "bytelevel-suffix" else "plain") + " "
    if scheme.startswith("bytelevel") and all(char in _gpt2_bytes() for char in piece):
        return bytes(_gpt2_bytes()[char] for char in piece).decode("utf-8", "surrogateescape")
    if scheme == "bytes" and len(piece) == 1 and piece < "\u0100":
        return piece.encode("latin-1").decode("utf-8", "surrogateescape")
    if scheme == "metaspace":
        if byte := _BYTE_PIECE.fullmatch(piece):
            return bytes.fromhex(byte[1]).decode("utf-8", "surrogateescape")
        return piece.replace("▁", " ")
    return piece


@cache
def _gpt2_bytes() -> dict[str, int]:
    """Return the byte of each character of GPT-2's alphabet: printable Latin-1 bytes, then the others from U+0100."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}


def escape_invisible(text: str) -> str:
    """Return the text with outer spaces as `·` and characters that are invisible or break the line escaped."""
    core = text.strip(" ")
    if not core:
        return SPACE * len(text) or EMPTY
    before = len(text) - len(text.lstrip(" "))
    after = len(text) - before - len(core)
    core = escape_bytes(core)
    escaped = "".join(_escape_at(core, index) for index in range(len(core)))
    return SPACE * before + _limit_marks(escaped) + SPACE * after


def escape_bytes(text: str) -> str:
    """Return the text with the bytes of incomplete characters, which are lone surrogates, as `⟨E2 80⟩`."""
    return _BAD_BYTES.sub(lambda bad: f"⟨{' '.join(f'{ord(char) - 0xDC00:02X}' for char in bad[0])}⟩", text)


def _escape_at(text: str, index: int) -> str:
    char = text[index]
    if char == " " or (char.isprintable() and char not in _JOINERS):
        return char
    if char in _ESCAPES:
        return _ESCAPES[char]
    if unicodedata.category(char) == "Cc":
        return f"\\x{ord(char):02x}"
    if char in _JOINERS and 0 < index < len(text) - (char <= "\u200d") and not text[index - 1].isascii():
        return char
    return f"⟨U+{ord(char):04X}⟩"


def label_with_position(label: str, position: int) -> str:
    """Return a label followed by its position, also for scripts that run from right to left."""
    leftward = any(unicodedata.bidirectional(char) in ("R", "AL") for char in label)
    return f"{label}{_LEFT_TO_RIGHT if leftward else ''} {position}"


def _limit_marks(text: str) -> str:
    """Return the text with at most `_MAX_MARKS` combining marks per character, so that a label stays in its line."""
    kept = ["◌"] if unicodedata.combining(text[0]) else []
    marks = 0
    for char in text:
        marks = marks + 1 if unicodedata.combining(char) else 0
        if marks <= _MAX_MARKS:
            kept.append(char)
    return "".join(kept)


def shorten(text: str, width: int = WIDTH) -> str:
    """Return a label that is at most `width` columns wide, with `…` where it was cut.

    >>> shorten("Donaudampfschifffahrt", 11)
    'Donaudampf…'
    """
    ends = list(accumulate(map(_columns, text), initial=0))
    if ends[-1] <= width:
        return text
    return text[: bisect_right(ends, width - 1) - 1] + "…"


def _columns(char: str) -> int:
    if unicodedata.combining(char) or char in _JOINERS:
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
