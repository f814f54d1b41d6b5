"""The task of demo:seq2seq: spell every word of a sentence backwards, everything else stays in place."""

from __future__ import annotations

import re

_WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)*")


def mirror_alignment(text: str) -> list[int]:
    """For each target character the index of its source character.

    >>> mirror_alignment("ab cde!")
    [1, 0, 2, 5, 4, 3, 6]
    """
    source = list(range(len(text)))
    for word in _WORD.finditer(text):
        source[word.start() : word.end()] = reversed(range(word.start(), word.end()))
    return source


def mirror_words(text: str) -> str:
    """The text with every word spelled backwards.

    >>> mirror_words("Stop the cat, don't!")
    "potS eht tac, t'nod!"
    """
    return "".join(text[index] for index in mirror_alignment(text))
