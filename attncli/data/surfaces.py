"""The text that tokens stand for: from their offsets, or from their pieces if these are not known."""

import codecs
import re
from collections.abc import Iterator, Sequence

import numpy as np

from attncli.data.labels import Scheme, escape_bytes, piece_text
from attncli.data.tokens import Array, Tokens

_HALF_SURROGATES = re.compile("[\ud800-\udc7f\udd00-\udfff]")
"""Half surrogates that do not encode a byte."""
_IN_BYTES = ("bytelevel", "bytelevel-suffix", "metaspace", "bytes")
JOINED = (*_IN_BYTES, "suffix", "characters")
"""Schemes whose pieces have all spaces of the text."""


def token_texts(tokens: Tokens) -> list[str]:
    """Return the text of each token as written, without outer spaces; special tokens are their own text.

    `ĠÐºÐ¾ÑĤ` is `кот`, `##ing` is `ing`, `[UNK]` is the unknown word. The bytes of an incomplete character are escaped
    as in labels (`⟨E2 80⟩`).
    """
    texts = []
    ascending, last_end = True, 0
    from_pieces = zip(tokens.pieces, tokens.special.tolist(), tokens.offsets.tolist(), strict=True)
    for piece, special, (start, end) in from_pieces:
        if special:
            texts.append(piece)
            continue
        text = _without_mark(_bare(piece, tokens.scheme), tokens.scheme)
        if 0 <= start < end:
            # offsets that run backwards refer to another string, as those of the second text of a pair do
            ascending, last_end = ascending and start >= last_end - 1, end
            if ascending and text.strip() and not has_bytes(text):
                written = tokens.text[start:end]
                text = written.strip() or written or text
        texts.append(escape_bytes(text) if tokens.scheme in _IN_BYTES else text)
    return texts


def token_columns(tokens: Tokens) -> tuple[Array, Array]:
    """Return the text of each token as written and its exact vocabulary piece, as columns of a table."""
    texts, pieces = ([*entries, None] for entries in (token_texts(tokens), tokens.vocabulary_pieces))
    return np.array(texts, dtype=object)[:-1], np.array(pieces, dtype=object)[:-1]


def has_bytes(text: str) -> bool:
    """Return whether a text has bytes of an incomplete character."""
    return any("\udc80" <= character <= "\udcff" for character in text)


def _bare(piece: str, scheme: Scheme) -> str:
    """Return the text of a piece without the mark of a continued word."""
    text = piece_text(piece, scheme)
    if scheme == "wordpiece":
        return text.removeprefix("##") or text
    return (text.removesuffix("@@") or text) if scheme == "continued" else text


def text_of_pieces(pieces: Sequence[str], scheme: Scheme) -> str:
    """Return the text of the pieces of one word; bytes of an incomplete character are escaped."""
    text = "".join(_bare(piece, scheme) for piece in pieces)
    if scheme in _IN_BYTES:
        raw = _HALF_SURROGATES.sub("�", text).encode("utf-8", "surrogateescape")
        text = raw.decode("utf-8", "surrogateescape")
        text = escape_bytes(text)
    return _without_mark(text, scheme)


def _without_mark(text: str, scheme: Scheme) -> str:
    """Return the text of a piece or word without the space that stands for the mark of a word."""
    return (text.strip(" ") or text) if scheme in JOINED else text


def piece_surfaces(pieces: Sequence[str], special: Array, scheme: Scheme) -> Iterator[tuple[str, str]]:
    """Yield for each piece (text before it, text that it represents), without the text of the tokens.

    A character of several bytes belongs to the piece of its last byte. Special tokens represent no text.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    first, joins = True, False
    for piece, is_special in zip(pieces, special.tolist(), strict=True):
        if is_special:
            yield "", ""
            continue
        text = piece_text(piece, scheme)
        if scheme in _IN_BYTES:
            text = decoder.decode(_HALF_SURROGATES.sub("�", text).encode("utf-8", "surrogateescape"))
        if scheme in JOINED:
            before, surface = move_space("", text)
        else:
            continues = joins if scheme == "continued" else scheme == "wordpiece" and text.startswith("##")
            before, surface = "" if continues else " ", _bare(piece, scheme)
        yield "" if first else before, surface
        first, joins = False, piece.endswith("@@")


def spans_of_pieces(pieces: Sequence[str], special: Array, scheme: Scheme) -> tuple[str, Array]:
    """Return the text of pieces and [piece, 2] the start and end of each in it; special tokens are white space."""
    text, spans = "", []
    for (before, surface), is_special in zip(piece_surfaces(pieces, special, scheme), special.tolist(), strict=True):
        text += "\n" if is_special else before
        spans.append((len(text), len(text) + len(surface)))
        text += surface
    return text, np.array(spans, np.int64).reshape(-1, 2)


def move_space(before: str, surface: str) -> tuple[str, str]:
    """Return (before, surface) with the space at the start of a piece moved in front of it, unless it is all space."""
    bare = surface.lstrip()
    return (before + surface[: len(surface) - len(bare)], bare) if bare else (before, surface)
