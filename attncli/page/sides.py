"""One side of a map for the page: its tokens, what is shown of them, and the text that they cover."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import Any

from attncli.data import Tokens
from attncli.data.labels import labels, piece_text
from attncli.data.words import merged_words, word_groups

_HALVES = re.compile("[\ud800-\udc7f\udd00-\udfff]")
"""Half surrogates that stand for no byte."""


def side(tokens: Tokens, cut: bool = False) -> dict[str, Any]:
    """The `Side` of the schema; `cut`: the tokens are a part of their text, which is not told."""
    words = merged_words(tokens)
    covered = list(_from_text(tokens, cut) if (tokens.offsets >= 0).any() else _from_pieces(tokens))
    reached = max((end for _, end in tokens.offsets.tolist()), default=-1)
    return {
        "pieces": list(tokens.pieces),
        "labels": labels(tokens),
        "special": tokens.special.nonzero()[0].tolist(),
        "words": word_groups(tokens).tolist(),
        "word_labels": labels(words),
        "segments": list(tokens.segments),
        "before": [before for before, _ in covered],
        "surface": [surface for _, surface in covered],
        "after": "" if cut or reached < 0 else tokens.text[reached:],
    }


def _from_text(tokens: Tokens, cut: bool) -> Iterator[tuple[str, str]]:
    """For each piece the text before it and the text that it covers; of pieces of one character the first has it.

    What has no place in the text, as what a model wrote behind it, is told by its pieces.
    """
    reached = 0 if not cut else None
    spoken = list(_from_pieces(tokens))
    for at, (start, end) in enumerate(tokens.offsets.tolist()):
        if start < 0:
            yield spoken[at]
            continue
        reached = start if reached is None else reached
        yield _spaced(tokens.text[reached : max(start, reached)], tokens.text[max(start, reached) : end])
        reached = max(end, reached)


def _from_pieces(tokens: Tokens) -> Iterator[tuple[str, str]]:
    """The same without a text: what the pieces stand for, a character of several bytes where its last byte is."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    first = True
    for piece, special in zip(tokens.pieces, tokens.special.tolist(), strict=True):
        if special:
            yield "", ""
            continue
        text = piece_text(piece, tokens.scheme)
        if tokens.scheme == "bytelevel" or tokens.scheme == "metaspace":
            before, surface = _spaced("", decoder.decode(_HALVES.sub("�", text).encode("utf-8", "surrogateescape")))
        elif tokens.scheme == "wordpiece" and text.startswith("##"):
            before, surface = "", text.removeprefix("##")
        else:
            before, surface = " ", text
        yield "" if first else before, surface
        first = False


def _spaced(before: str, surface: str) -> tuple[str, str]:
    """With the space that begins a piece in front of it, unless it is all of the piece."""
    bare = surface.lstrip()
    return (before + surface[: len(surface) - len(bare)], bare) if bare else (before, surface)
