"""Tokens from token ids: their pieces, offsets and words, and which of them are special."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from attncli.data import Array, Scheme, Tokens
from attncli.data.labels import WORD_END, piece_text
from attncli.data.surfaces import spans_of_pieces
from attncli.data.words import number_words

if TYPE_CHECKING:
    from tokenizers import Encoding
    from transformers import PreTrainedTokenizerBase

_ROLES = ("bos", "eos", "sep", "pad", "cls", "mask")


class TokenReader:
    """Makes `Tokens` from the token ids of one tokenizer."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer, self._scheme = tokenizer, _piece_scheme(tokenizer)
        self._special, self._unknown = special_ids(tokenizer), getattr(tokenizer, "unk_token_id", None)
        self._pieces: dict[int, str] = {}

    def tokens(
        self, ids: Sequence[int], encoding: Encoding | None = None, text: str = "", pair_start: int = 0
    ) -> Tokens:
        """Return the tokens of these ids, with the words of the text, or of the text of the pieces without encoding.

        encoding    the encoding of a fast tokenizer, if there is one; offsets and words need it
        text        the string that offsets refer to
        pair_start  offset in `text` of the second segment of a pair
        """
        pieces = self._pieces_of(ids)
        special = np.array([number in self._special for number in ids], np.bool_)
        spans = [(-1, -1)] * len(pieces) if encoding is None else encoding.offsets
        sequences = [None] * len(pieces) if encoding is None else encoding.sequence_ids
        offsets = np.asarray(spans, dtype=np.int64).reshape(-1, 2)
        segments = ("",) * len(pieces)
        if 1 in sequences:
            offsets[[number == 1 for number in sequences]] += pair_start
            segments = tuple("" if number is None else "ab"[number] for number in sequences)
        if encoding is not None:
            special &= ~self._unknown_words(pieces, ids, encoding, [text[start:end] for start, end in offsets.tolist()])
            offsets = np.where((special | [number is None for number in sequences])[:, None], -1, offsets)
        return Tokens(
            pieces=pieces,
            ids=np.asarray(ids),
            special=special,
            offsets=offsets,
            words=self._words(pieces, special, text, offsets, encoding is not None),
            segments=segments,
            text=text,
            scheme=self._scheme,
        )

    def _pieces_of(self, ids: Sequence[int]) -> tuple[str, ...]:
        """Return the pieces of ids; the same few thousand occur again and again: each is read and stored once."""
        if missing := [number for number in ids if number not in self._pieces]:
            pieces = self._tokenizer.convert_ids_to_tokens(missing)
            self._pieces.update((number, sys.intern(str(piece))) for number, piece in zip(missing, pieces, strict=True))
        return tuple([self._pieces[number] for number in ids])

    def _unknown_words(
        self, pieces: Sequence[str], ids: Sequence[int], encoding: Encoding, written: Sequence[str]
    ) -> Array:
        """Return which tokens are unknown words: not added to the text, and not written in it as the token itself."""
        added = encoding.special_tokens_mask
        return np.array(
            [
                number == self._unknown and not is_added and text.strip() != piece
                for piece, number, is_added, text in zip(pieces, ids, added, written, strict=True)
            ],
            np.bool_,
        )

    def _words(self, pieces: Sequence[str], special: Array, text: str, offsets: Array, known: bool) -> Array:
        """Return the word number of each piece; `known`: whether offsets are known."""
        if known:
            spans, alone = offsets.copy(), offsets[:, 0] < 0
        else:
            text, spans = spans_of_pieces(pieces, special, self._scheme)
            alone = special
        if self._scheme in ("bytelevel", "metaspace"):  # a piece that is only a mark belongs to the word that follows
            spans[:, 1] += [piece_text(piece, self._scheme) == " " for piece in pieces]
        return number_words(text, spans, alone)


def special_ids(tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Return the ids of special tokens; that of unknown words only if it has another role too, as in GPT-2 and OPT."""
    unknown = getattr(tokenizer, "unk_token_id", None)
    roles = {getattr(tokenizer, f"{role}_token_id", None) for role in _ROLES}
    return {number for number in tokenizer.all_special_ids if number != unknown or number in roles}


def unknown_share(tokens: Tokens, tokenizer: PreTrainedTokenizerBase) -> tuple[int, int]:
    """Return how many of the ordinary tokens are unknown words or not in the vocabulary, and their number."""
    ordinary, unknown = tokens.ids[~tokens.special], getattr(tokenizer, "unk_token_id", None)
    return int(((ordinary == unknown) | (ordinary >= len(tokenizer))).sum()), len(ordinary)


def _piece_scheme(tokenizer: PreTrainedTokenizerBase) -> Scheme:
    """Return how a tokenizer marks words and bytes in its pieces: from its parts, else from its vocabulary."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    parts = str(getattr(backend, "decoder", "")) + str(getattr(backend, "pre_tokenizer", ""))
    ends_words = getattr(getattr(backend, "model", None), "end_of_word_suffix", None) == WORD_END
    if "ByteLevel" in parts:
        return "bytelevel-suffix" if ends_words else "bytelevel"
    if ends_words:
        return "suffix"
    if "WordPiece" in parts:
        return "wordpiece"
    if "Metaspace" in parts or "▁" in parts or hasattr(tokenizer, "sp_model"):
        return "metaspace"
    return "plain" if backend is not None else _scheme_of_vocabulary(tokenizer)


def _scheme_of_vocabulary(tokenizer: PreTrainedTokenizerBase) -> Scheme:
    """Return the scheme of a tokenizer that is written in Python, from the marks in its vocabulary."""
    if tokenizer.vocab_size > sys.maxunicode:  # CANINE: a dictionary of all characters takes long
        return "characters"
    pieces = set(tokenizer.get_vocab()) - set(tokenizer.get_added_vocab())
    if pieces and all(len(piece) == 1 for piece in pieces):
        return "bytes" if len(pieces) == 256 and max(pieces) == "ÿ" else "characters"
    if any(piece.endswith(WORD_END) for piece in pieces):
        return "bytelevel-suffix" if hasattr(tokenizer, "byte_encoder") else "suffix"
    if any(piece.endswith("@@") for piece in pieces):
        return "continued"
    if any(piece.startswith("▁") for piece in pieces):
        return "metaspace"
    if any(piece.startswith("##") for piece in pieces):
        return "wordpiece"
    return "bytelevel" if any(piece.startswith("Ġ") for piece in pieces) else "plain"
