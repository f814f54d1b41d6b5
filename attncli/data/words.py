"""Words of a text: which tokens form a word, and the text of each word."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from attncli.data.tokens import Array, Tokens

_WORD_MARKS = {"bytelevel": "Ġ", "metaspace": "▁"}
"""The character before a piece that begins a word, by tokenizer scheme."""


def merged_words(tokens: Tokens) -> Tokens:
    """Return one token per word; its piece is the word as written in the text if known, else the joined pieces."""
    groups = word_groups(tokens)
    words = [np.flatnonzero(groups == group) for group in range(groups.max(initial=-1) + 1)]
    first = [positions[0] for positions in words]
    offsets = np.array([_word_offsets(tokens.offsets[positions]) for positions in words]).reshape(-1, 2)
    return replace(
        tokens.take(first),
        pieces=tuple(_word_texts(tokens, words, offsets)),
        ids=np.array([tokens.ids[positions[0]] if len(positions) == 1 else -1 for positions in words]),
        offsets=offsets,
    )


def word_groups(tokens: Tokens) -> Array:
    """Return for each piece the number of its word, counted in order of first appearance."""
    numbers: dict[tuple[str, int], int] = {}
    keys = [
        ("alone", position) if special or word < 0 else ("word", word)
        for position, (word, special) in enumerate(zip(tokens.words.tolist(), tokens.special.tolist(), strict=True))
    ]
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)


def _word_offsets(offsets: Array) -> tuple[int, int]:
    if (offsets < 0).any():
        return -1, -1
    return int(offsets[:, 0].min()), int(offsets[:, 1].max())


def _word_texts(tokens: Tokens, words: list[Array], offsets: Array) -> list[str]:
    texts = []
    ascending, last_end = True, 0
    for positions, (start, end) in zip(words, offsets.tolist(), strict=True):
        known = start >= 0 and not tokens.special[positions[0]]
        if known:
            # offsets that run backwards refer to another string, as those of the second text of a pair do
            ascending, last_end = ascending and start >= last_end, end
        # byte-level pieces lose nothing, and labels would misread plain text by their scheme
        use_text = known and ascending and tokens.scheme != "bytelevel"
        texts.append((tokens.text[start:end].strip() if use_text else "") or _join_pieces(tokens, positions))
    return texts


def _join_pieces(tokens: Tokens, positions: Array) -> str:
    """Return the pieces of one word as one piece of the same scheme, without the mark of a new word."""
    first, *rest = (str(tokens.pieces[position]) for position in positions)
    if tokens.special[positions[0]] or tokens.words[positions[0]] < 0:
        return first
    if tokens.scheme == "wordpiece":
        rest = [piece.removeprefix("##") for piece in rest]
    joined = "".join((first, *rest))
    mark = _WORD_MARKS.get(tokens.scheme)
    return (joined.lstrip(mark) if mark else joined) or joined
