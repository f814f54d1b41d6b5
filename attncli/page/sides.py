"""One side of a map for the page: its tokens, their labels, and the text that they cover."""

from collections.abc import Iterator
from typing import Any

from attncli.data import Tokens
from attncli.data.labels import labels
from attncli.data.surfaces import move_space, piece_surfaces, token_texts
from attncli.data.words import merged_words, word_groups


def side_document(tokens: Tokens, cut: bool = False) -> dict[str, Any]:
    """Return the `Side` of the schema; `cut` leaves out the text around tokens that are a part of their text."""
    words = merged_words(tokens)
    covered = list(_from_text(tokens, cut) if (tokens.offsets >= 0).any() else _from_pieces(tokens))
    last_end = max((end for _, end in tokens.offsets.tolist()), default=-1)
    return {
        "pieces": list(tokens.vocabulary_pieces),
        "texts": token_texts(tokens),
        "labels": labels(tokens),
        "special": tokens.special.nonzero()[0].tolist(),
        "words": word_groups(tokens).tolist(),
        "word_texts": token_texts(words),
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
        yield move_space(tokens.text[previous_end:start], tokens.text[start:end])
        previous_end = max(end, previous_end)


def _from_pieces(tokens: Tokens) -> Iterator[tuple[str, str]]:
    return piece_surfaces(tokens.pieces, tokens.special, tokens.scheme)
