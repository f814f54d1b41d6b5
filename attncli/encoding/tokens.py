"""What is known of each token: its piece, word, place in the text, segment, and how its tokenizer marks pieces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from attncli.data import Array, Scheme, Tokens


def tokens_of(tokenizer: Any, ids: Sequence[int], found: Any = None, text: str = "", pair_at: int = 0) -> Tokens:
    """What is known of each position.

    found    the tokenizer's own answer, where there is one
    text     what the offsets count in; the second segment of a pair begins at `pair_at`
    """
    pieces = [str(piece) for piece in tokenizer.convert_ids_to_tokens(list(ids))]
    scheme = piece_scheme(tokenizer)
    special = np.isin(np.asarray(ids), list(tokenizer.all_special_ids))
    if getattr(tokenizer, "unk_token_id", None) is not None:
        special &= np.asarray(ids) != tokenizer.unk_token_id
    fast = found is not None and getattr(found, "encodings", None)
    offsets = found["offset_mapping"] if fast else [(-1, -1)] * len(pieces)
    sequence = found.sequence_ids() if fast else [None] * len(pieces)
    pair = 1 in sequence
    places = np.asarray(offsets, dtype=np.int64).reshape(-1, 2)
    places[np.asarray(sequence, dtype=object) == 1] += pair_at
    return Tokens(
        pieces=tuple(pieces),
        ids=np.asarray(ids),
        special=special,
        offsets=np.where(special[:, None], -1, places),
        words=_words(pieces, special, scheme, found if fast else None),
        segments=tuple("ab"[number] if pair and number is not None else "" for number in sequence),
        text=text,
        scheme=scheme,
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


def _words(pieces: Sequence[str], special: Array, scheme: Scheme, found: Any) -> Array:
    """Word numbers: the tokenizer's own, or by the marks in the pieces where it has none (sentencepiece)."""
    own = found.word_ids() if found is not None else [None] * len(pieces)
    if scheme != "metaspace" and any(number is not None for number in own):
        sides = found.sequence_ids()
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
