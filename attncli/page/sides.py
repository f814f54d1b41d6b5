"""One side of a map for the page: its tokens, their labels, and the text that they cover."""

import re
from collections.abc import Iterator
from typing import Any

from attncli.data import Tokens
from attncli.data.labels import labels
from attncli.data.surfaces import move_space, piece_surfaces, token_texts
from attncli.data.text_cells import TextCells, split_cells
from attncli.data.words import merged_words, word_groups

_BAD_BYTES = re.compile("[\udc80-\udcff]+")


def side_document(tokens: Tokens, cut: bool = False) -> dict[str, Any]:
    """Return the `Side` of the schema; `cut` leaves out the text around tokens that are a part of their text."""
    words, cells = merged_words(tokens), split_cells(tokens)
    covered = list(_covered(tokens, cells, cut))
    last_end = max((end for _, end in cells.spans.tolist()), default=-1)
    return {
        "pieces": list(tokens.vocabulary_pieces),
        "texts": token_texts(tokens),
        "labels": labels(tokens),
        "special": tokens.special.nonzero()[0].tolist(),
        "words": word_groups(tokens).tolist(),
        "word_texts": token_texts(words),
        "word_labels": labels(words),
        "segments": list(tokens.segments),
        "cells": cells.numbers.tolist(),
        "before": [before for before, _ in covered],
        "surface": [surface for _, surface in covered],
        "after": "" if cut or last_end < 0 else cells.text[last_end:],
    }


def _covered(tokens: Tokens, cells: TextCells, cut: bool) -> Iterator[tuple[str, str]]:
    """Yield for each piece (text before it, text that it covers); the first piece of a cell covers all of the cell.

    A piece without a cell in the text covers the text that it represents.
    """
    appended = not (tokens.offsets >= 0).any()
    previous_end = None if cut or appended else 0
    from_pieces = piece_surfaces(tokens.pieces, tokens.special, tokens.scheme)
    first = {positions[0] for positions in cells.positions}
    for position, (number, from_piece) in enumerate(zip(cells.numbers.tolist(), from_pieces, strict=True)):
        start, end = cells.spans[number].tolist()
        if start < 0:
            yield from_piece
        elif position not in first:
            yield "", ""
        else:
            gap = "" if previous_end is None else cells.text[previous_end:start]
            before, surface = move_space(_printable(gap), _printable(cells.text[start:end]))
            yield "" if appended and previous_end is None else before, surface
            previous_end = end


def _printable(text: str) -> str:
    """Return text with the bytes of incomplete characters, which are lone surrogates, replaced."""
    return _BAD_BYTES.sub("�", text)
