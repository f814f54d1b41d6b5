"""Parts of a text that an analysis takes together: tokens, words or segments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from attncli.data import Input, Kind, Spans, Tokens
from attncli.data.labels import labels
from attncli.data.surfaces import token_texts
from attncli.data.words import merged_words, word_groups
from attncli.inputs.partitions import check_has_segments, partitions


@dataclass(frozen=True)
class TextUnit:
    """A token, a word or a segment.

    name       its text, or the name of the segment
    label      the name in pictures
    positions  positions of its tokens
    """

    name: str
    label: str
    positions: tuple[int, ...]


def units_of(text: Input, kind: Kind, divide: str | None, spans: Spans | None, words: bool) -> tuple[TextUnit, ...]:
    """Return all units of the keys of a text.

    divide  how the text is divided into segments; None for tokens, unless `spans` are given
    words   whether units are words instead of tokens
    """
    keys = text.sides(kind)[1]
    if divide is not None or spans is not None:
        sides = partitions(text, kind, divide or "auto", spans)
        # of an encoder-decoder one side may be a single segment
        compared = sides if text.target is None else partitions(text, "cross", divide or "auto", spans)
        check_has_segments([text], [compared])
        part = sides[1]
        return tuple(TextUnit(name, name, positions) for name, positions in part.positions().items())
    if not words:
        return _of_tokens(keys, [(position,) for position in range(len(keys))])
    groups = word_groups(keys)
    numbers = range(groups.max(initial=-1) + 1)
    return _of_tokens(merged_words(keys), [tuple(np.flatnonzero(groups == number).tolist()) for number in numbers])


def _of_tokens(tokens: Tokens, positions: Sequence[tuple[int, ...]]) -> tuple[TextUnit, ...]:
    return tuple(map(TextUnit, token_texts(tokens), labels(tokens), positions))
