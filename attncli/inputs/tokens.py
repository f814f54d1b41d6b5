"""What is known of each token: its piece, word, place in the text, segment, and how its tokenizer marks pieces."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from attncli.data import Array, Scheme, Tokens


class TokenReader:
    """Says what stands at each position, as one tokenizer has it."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._scheme = piece_scheme(tokenizer)
        self._special = set(tokenizer.all_special_ids) - {getattr(tokenizer, "unk_token_id", None)}

    def tokens(self, ids: Sequence[int], encoding: Any = None, text: str = "", pair_at: int = 0) -> Tokens:
        """What is known of each position.

        encoding  the fast tokenizer's own answer, where there is one
        text      what the offsets count in; the second segment of a pair begins at `pair_at`
        """
        # the same few thousand pieces come again and again: each is held once
        pieces = tuple(sys.intern(str(piece)) for piece in self._tokenizer.convert_ids_to_tokens(list(ids)))
        special = np.fromiter((number in self._special for number in ids), np.bool_, len(pieces))
        offsets = [(-1, -1)] * len(pieces) if encoding is None else encoding.offsets
        sequence = [None] * len(pieces) if encoding is None else encoding.sequence_ids
        places = np.asarray(offsets, dtype=np.int64).reshape(-1, 2)
        segments = ("",) * len(pieces)
        if 1 in sequence:
            places[[number == 1 for number in sequence]] += pair_at
            segments = tuple("" if number is None else "ab"[number] for number in sequence)
        return Tokens(
            pieces=pieces,
            ids=np.asarray(ids),
            special=special,
            offsets=np.where(special[:, None], -1, places),
            words=_words(pieces, special, self._scheme, encoding),
            segments=segments,
            text=text,
            scheme=self._scheme,
        )


def piece_scheme(tokenizer: Any) -> Scheme:
    """How a tokenizer marks words and bytes in its pieces, read off its own parts."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    decoder = str(getattr(backend, "decoder", "")) + str(getattr(backend, "pre_tokenizer", ""))
    if "ByteLevel" in decoder:
        return "bytelevel"
    if "WordPiece" in decoder:
        return "wordpiece"
    if "Metaspace" in decoder or "▁" in decoder or hasattr(tokenizer, "sp_model"):
        return "metaspace"
    return "plain"


def _words(pieces: Sequence[str], special: Array, scheme: Scheme, encoding: Any) -> Array:
    """Word numbers: the tokenizer's own, or by the marks in the pieces where it has none (sentencepiece)."""
    own = [None] * len(pieces) if encoding is None else encoding.word_ids
    if scheme != "metaspace" and any(number is not None for number in own):
        sides = encoding.sequence_ids
        return _renumber([None if number is None else (side, number) for side, number in zip(sides, own, strict=True)])
    begins: Callable[[str], bool] = {
        "metaspace": lambda piece: piece.startswith("▁"),
        "bytelevel": lambda piece: piece.startswith(("Ġ", "Ċ")),
        "wordpiece": lambda piece: not piece.startswith("##"),
        "plain": lambda piece: True,
    }[scheme]
    numbers: list[Any] = []
    word, after_special = -1, True
    for piece, is_special in zip(pieces, special, strict=True):
        word += int(not is_special and (after_special or begins(piece)))
        numbers.append(None if is_special else word)
        after_special = bool(is_special)
    return _renumber(numbers)


def _renumber(keys: Sequence[Any]) -> Array:
    numbers: dict[Any, int] = {}
    return np.asarray([-1 if key is None else numbers.setdefault(key, len(numbers)) for key in keys])
