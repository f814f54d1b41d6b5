"""Reading of tokens from token ids: pieces, words, offsets and segments, and how a tokenizer marks its pieces."""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from attncli.data import Array, Scheme, Tokens

if TYPE_CHECKING:
    from tokenizers import Encoding
    from transformers import PreTrainedTokenizerBase


class TokenReader:
    """Makes `Tokens` from the token ids of one tokenizer."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._scheme = piece_scheme(tokenizer)
        self._special = set(tokenizer.all_special_ids) - {getattr(tokenizer, "unk_token_id", None)}

    def tokens(
        self, ids: Sequence[int], encoding: Encoding | None = None, text: str = "", pair_start: int = 0
    ) -> Tokens:
        """Return the tokens of these ids.

        encoding    the encoding of a fast tokenizer, if there is one; offsets and words need it
        text        the string that offsets refer to
        pair_start  offset in `text` of the second segment of a pair
        """
        # the same few thousand pieces occur again and again: each is stored once
        pieces = tuple(sys.intern(str(piece)) for piece in self._tokenizer.convert_ids_to_tokens(list(ids)))
        special = np.fromiter((number in self._special for number in ids), np.bool_, len(pieces))
        spans = [(-1, -1)] * len(pieces) if encoding is None else encoding.offsets
        sequences = [None] * len(pieces) if encoding is None else encoding.sequence_ids
        offsets = np.asarray(spans, dtype=np.int64).reshape(-1, 2)
        segments = ("",) * len(pieces)
        if 1 in sequences:
            offsets[[number == 1 for number in sequences]] += pair_start
            segments = tuple("" if number is None else "ab"[number] for number in sequences)
        return Tokens(
            pieces=pieces,
            ids=np.asarray(ids),
            special=special,
            offsets=np.where(special[:, None], -1, offsets),
            words=_word_numbers(pieces, special, self._scheme, encoding),
            segments=segments,
            text=text,
            scheme=self._scheme,
        )


def piece_scheme(tokenizer: PreTrainedTokenizerBase) -> Scheme:
    """Return how a tokenizer marks words and bytes in its pieces, from its decoder and pre-tokenizer."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    parts = str(getattr(backend, "decoder", "")) + str(getattr(backend, "pre_tokenizer", ""))
    if "ByteLevel" in parts:
        return "bytelevel"
    if "WordPiece" in parts:
        return "wordpiece"
    if "Metaspace" in parts or "▁" in parts or hasattr(tokenizer, "sp_model"):
        return "metaspace"
    return "plain"


def _word_numbers(pieces: Sequence[str], special: Array, scheme: Scheme, encoding: Encoding | None) -> Array:
    """Return the word number of each piece: from the encoding if it has words, else by the marks in the pieces."""
    if encoding is not None and scheme != "metaspace" and any(word is not None for word in encoding.word_ids):
        words = zip(encoding.sequence_ids, encoding.word_ids, strict=True)
        return _renumber([None if word is None else (sequence, word) for sequence, word in words])
    begins_word: Callable[[str], bool] = {
        "metaspace": lambda piece: piece.startswith("▁"),
        "bytelevel": lambda piece: piece.startswith(("Ġ", "Ċ")),
        "wordpiece": lambda piece: not piece.startswith("##"),
        "plain": lambda piece: True,
    }[scheme]
    numbers: list[int | None] = []
    word, after_special = -1, True
    for piece, is_special in zip(pieces, special, strict=True):
        word += int(not is_special and (after_special or begins_word(piece)))
        numbers.append(None if is_special else word)
        after_special = bool(is_special)
    return _renumber(numbers)


def _renumber(keys: Sequence[Hashable | None]) -> Array:
    """Return -1 for None, else the number of the key in order of first appearance."""
    numbers: dict[Hashable, int] = {}
    return np.asarray([-1 if key is None else numbers.setdefault(key, len(numbers)) for key in keys])
