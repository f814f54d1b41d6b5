"""Cells of a text: the parts of a text that tokens cover, in whole characters as a reader sees them."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import regex

from attncli.data.labels import Scheme, piece_text
from attncli.data.surfaces import JOINED
from attncli.data.tokens import Array, Tokens

_CLUSTER = regex.compile(r"\X")
_HALF_SURROGATES = re.compile("[\ud800-\udc7f\udd00-\udfff]")


@dataclass(frozen=True)
class TextCells:
    """The cells of a text.

    text     the text; pieces without offsets, such as generated ones, are appended
    numbers  the cell of each token; tokens that split a character, or a letter and its marks, share a cell
    spans    [cell, 2] start and end of each cell in `text`; (-1, -1) for a token without text
    """

    text: str
    numbers: Array
    spans: Array

    @property
    def positions(self) -> list[tuple[int, ...]]:
        """The positions of the tokens of each cell."""
        positions: list[list[int]] = [[] for _ in self.spans]
        for position, cell in enumerate(self.numbers.tolist()):
            positions[cell].append(position)
        return list(map(tuple, positions))


def split_cells(tokens: Tokens, words: bool = False) -> TextCells:
    """Return the cells of the text of these tokens: one for each token, or for several that share a character.

    words  whether the tokens are words and not pieces

    A character is a grapheme cluster of UAX #29: a letter with its marks, an Indic syllable, an emoji sequence. Marks
    that no token covers, because the tokenizer removed them, belong to the cell of their letter.
    """
    text, offsets = (tokens.text, tokens.offsets) if words else place_pieces(tokens)
    ends = [match.end() for match in _CLUSTER.finditer(text)]
    numbers: list[int] = []
    spans: list[tuple[int, int]] = []
    last, end_of_text = -1, 0
    for start, end in offsets.tolist():
        if not 0 <= start < end <= len(text):
            numbers.append(len(spans))
            spans.append((-1, -1))
            continue
        before = bisect_right(ends, start)
        start, end = ends[before - 1] if before else 0, ends[bisect_left(ends, end)]
        if start < end_of_text and last >= 0:
            numbers.append(last)
            spans[last] = (spans[last][0], max(end_of_text, end))
        else:
            last = len(spans)
            numbers.append(last)
            spans.append((max(start, end_of_text), end))
        end_of_text = max(end, end_of_text)
    return TextCells(text, np.array(numbers, np.int64), np.array(spans, np.int64).reshape(-1, 2))


def place_pieces(tokens: Tokens) -> tuple[str, Array]:
    """Return the text of the tokens and [token, 2] offsets into it, with the text of pieces without offsets appended.

    Pieces that have the spaces of their text, and no other ones, can be appended. A character of several bytes belongs
    to each of its pieces; the bytes of an incomplete character are lone surrogates.
    """
    placed = tokens.offsets[:, 0] >= 0
    missing = np.flatnonzero(~placed & ~tokens.special)
    unknown = tokens.merged or tokens.scheme not in JOINED or not len(missing)
    if unknown or placed[missing[0] :].any():
        return tokens.text, tokens.offsets
    offsets = np.array(tokens.offsets)
    written = tokens.text[: max(0, int(offsets[:, 1].max()))]
    text, spans = _joined([tokens.pieces[at] for at in missing], tokens.scheme)
    offsets[missing] = len(written) + spans
    return written + text, offsets


def _joined(pieces: Sequence[str], scheme: Scheme) -> tuple[str, Array]:
    """Return the text of pieces one after the other, and [piece, 2] first and last character of each."""
    parts = [_HALF_SURROGATES.sub("�", piece_text(piece, scheme)) for piece in pieces]
    data = [part.encode("utf-8", "surrogateescape") for part in parts]
    text = b"".join(data).decode("utf-8", "surrogateescape")
    sizes = [len(character.encode("utf-8", "surrogateescape")) for character in text]
    character_ends = np.cumsum([0, *sizes])[1:]
    byte_ends = np.cumsum([0, *map(len, data)])
    starts = np.searchsorted(character_ends, byte_ends[:-1], side="right")
    ends = np.searchsorted(character_ends, byte_ends[1:], side="left") + 1
    return text, np.stack([starts, np.where(byte_ends[1:] > byte_ends[:-1], ends, starts)], axis=1)
