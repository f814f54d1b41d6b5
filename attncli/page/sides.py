"""One side of a map for the page: its tokens, their labels, and the text that they cover."""

import codecs
import re
from collections.abc import Iterator
from typing import Any

from attncli.data import Tokens
from attncli.data.labels import labels, piece_text
from attncli.data.transforms import merged_words, word_groups

_HALF_SURROGATES = re.compile("[\ud800-\udc7f\udd00-\udfff]")
"""Half surrogates that do not encode a byte."""


def side_document(tokens: Tokens, cut: bool = False) -> dict[str, Any]:
    """Return the `Side` of the schema; `cut` leaves out the text around tokens that are a part of their text."""
    words = merged_words(tokens)
    covered = list(_from_text(tokens, cut) if (tokens.offsets >= 0).any() else _from_pieces(tokens))
    last_end = max((end for _, end in tokens.offsets.tolist()), default=-1)
    return {
        "pieces": list(tokens.pieces),
        "labels": labels(tokens),
        "special": tokens.special.nonzero()[0].tolist(),
        "words": word_groups(tokens).tolist(),
        "word_labels": labels(words),
        "segments": list(tokens.segments),
        "before": [before for before, _ in covered],
        "surface": [surface for _, surface in covered],
        "after": "" if cut or last_end < 0 else tokens.text[last_end:],
    }


def _from_text(tokens: Tokens, cut: bool) -> Iterator[tuple[str, str]]:
    """Yield for each piece (text before it, text that it covers); of pieces of one character the first covers it.

    A piece without an offset, such as a generated one, covers the text that it represents.
    """
    previous_end = 0 if not cut else None
    piece_texts = list(_from_pieces(tokens))
    for from_piece, (start, end) in zip(piece_texts, tokens.offsets.tolist(), strict=True):
        if start < 0:
            yield from_piece
            continue
        previous_end = start if previous_end is None else previous_end
        start = max(start, previous_end)
        yield _move_space(tokens.text[previous_end:start], tokens.text[start:end])
        previous_end = max(end, previous_end)


def _from_pieces(tokens: Tokens) -> Iterator[tuple[str, str]]:
    """Yield for each piece (text before it, text that it represents), without the text of the tokens.

    A character of several bytes belongs to the piece of its last byte.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    first = True
    for piece, special in zip(tokens.pieces, tokens.special.tolist(), strict=True):
        if special:
            yield "", ""
            continue
        text = piece_text(piece, tokens.scheme)
        if tokens.scheme == "bytelevel" or tokens.scheme == "metaspace":
            raw = _HALF_SURROGATES.sub("�", text).encode("utf-8", "surrogateescape")
            before, surface = _move_space("", decoder.decode(raw))
        elif tokens.scheme == "wordpiece" and text.startswith("##"):
            before, surface = "", text.removeprefix("##")
        else:
            before, surface = " ", text
        yield "" if first else before, surface
        first = False


def _move_space(before: str, surface: str) -> tuple[str, str]:
    """Return (before, surface) with the space at the start of a piece moved in front of it, unless it is all space."""
    bare = surface.lstrip()
    return (before + surface[: len(surface) - len(bare)], bare) if bare else (before, surface)
