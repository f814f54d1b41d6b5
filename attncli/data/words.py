"""Words of a text: which tokens belong to one word, and what the word is called."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from attncli.data.tokens import Array, Tokens

_MARKS = {"bytelevel": "Ġ", "metaspace": "▁"}
"""What stands before a piece that begins a word."""


def merged_words(tokens: Tokens) -> Tokens:
    """One token per word: its text as written where that is known, else its pieces joined."""
    groups = word_groups(tokens)
    members = [np.flatnonzero(groups == group) for group in range(groups.max(initial=-1) + 1)]
    first = [each[0] for each in members]
    offsets = np.array([_span(tokens.offsets[each]) for each in members]).reshape(-1, 2)
    return replace(
        tokens.take(first),
        pieces=tuple(_names(tokens, members, offsets)),
        ids=np.array([tokens.ids[each[0]] if len(each) == 1 else -1 for each in members]),
        offsets=offsets,
    )


def word_groups(tokens: Tokens) -> Array:
    """For each piece the place of its word in the order of first appearance."""
    places: dict[tuple[str, int], int] = {}
    keys = [
        ("alone", at) if special or word < 0 else ("word", word)
        for at, (word, special) in enumerate(zip(tokens.words.tolist(), tokens.special.tolist(), strict=True))
    ]
    return np.array([places.setdefault(key, len(places)) for key in keys], dtype=np.int64)


def _span(offsets: Array) -> tuple[int, int]:
    if (offsets < 0).any():
        return -1, -1
    return int(offsets[:, 0].min()), int(offsets[:, 1].max())


def _names(tokens: Tokens, members: list[Array], offsets: Array) -> list[str]:
    names = []
    ascending, reached = True, 0
    for each, (start, end) in zip(members, offsets.tolist(), strict=True):
        known = start >= 0 and not tokens.special[each[0]]
        if known:
            # offsets that run backwards count in another string, as those of the second of a pair do
            ascending, reached = ascending and start >= reached, end
        # byte-level pieces lose nothing, and their scheme would misread plain text
        written = known and ascending and tokens.scheme != "bytelevel"
        names.append((tokens.text[start:end].strip() if written else "") or _joined(tokens, each))
    return names


def _joined(tokens: Tokens, members: Array) -> str:
    """The pieces of one word in one, readable by the same scheme; the mark of a new word goes."""
    pieces: list[str] = [tokens.pieces[at] for at in members]
    first, *rest = pieces
    if tokens.special[members[0]] or tokens.words[members[0]] < 0:
        return first
    if tokens.scheme == "wordpiece":
        rest = [piece.removeprefix("##") for piece in rest]
    joined = "".join((first, *rest))
    mark = _MARKS.get(tokens.scheme)
    return (joined.lstrip(mark) if mark else joined) or joined
