"""What stands at each position of an input, and the inputs themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from attncli.errors import UsageError

Kind = Literal["encoder", "decoder", "cross"]
KINDS: tuple[Kind, ...] = ("encoder", "decoder", "cross")
Direction = Literal["from", "to"]
"""Attention from chosen tokens, which are then queries, or to them."""
By = Literal["weight", "norm"]
"""What maps are of: attention weights, or the norms of the values that they weigh (value-weighted norms)."""
Scheme = Literal["plain", "wordpiece", "bytelevel", "metaspace"]
Array = np.ndarray[Any, Any]


def read_only(array: Any, dtype: Any = None) -> Array:
    """A read-only view of `array` (copied only where the dtype must change), itself where it is read-only."""
    as_array = np.asarray(array, dtype=dtype)
    if not as_array.flags.writeable:
        return as_array
    view = as_array.view()
    view.flags.writeable = False
    return view


@dataclass(frozen=True, eq=False)
class Tokens:
    """One side of an attention map: what stands at each position.

    pieces   exact vocabulary pieces (`##ing`, `Ġthe`, `▁the`); never altered, also not for display
    ids      vocabulary ids, -1 where unknown (maps from elsewhere)
    special  which pieces the tokenizer added ([CLS], </s>, …)
    offsets  [token, 2] character offsets into `text`, (-1, -1) where a piece has none
    words    word number of each piece, -1 for none; pieces with the same number are one word
    segments name of the part of the input that each piece belongs to (pair: a, b; chat: role); "" for none
    scheme   how the tokenizer marks words and bytes in pieces; the labeller needs it
    """

    pieces: tuple[str, ...]
    ids: Array
    special: Array
    offsets: Array
    words: Array
    segments: tuple[str, ...]
    text: str = ""
    scheme: Scheme = "plain"

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        set_(self, "ids", read_only(self.ids, np.int64))
        set_(self, "special", read_only(self.special, np.bool_))
        set_(self, "offsets", read_only(self.offsets, np.int64).reshape(-1, 2))
        set_(self, "words", read_only(self.words, np.int64))
        lengths = {len(self.pieces), len(self.ids), len(self.special), len(self.offsets), len(self.words)}
        if lengths != {len(self.segments)}:
            raise UsageError(f"the fields of Tokens must have one entry per piece, got lengths {sorted(lengths)}")

    def __len__(self) -> int:
        return len(self.pieces)

    @classmethod
    def plain(cls, pieces: list[str] | tuple[str, ...], text: str = "") -> Tokens:
        """Tokens of which nothing but the labels is known, as for maps from elsewhere; each is a word."""
        n = len(pieces)
        return cls(
            pieces=tuple(pieces),
            ids=np.full(n, -1),
            special=np.zeros(n, bool),
            offsets=np.full((n, 2), -1),
            words=np.arange(n),
            segments=("",) * n,
            text=text,
        )

    def take(self, index: Array | list[int]) -> Tokens:
        """The tokens at these positions, in this order."""
        at = np.asarray(index, dtype=np.int64)
        return replace(
            self,
            pieces=tuple(self.pieces[i] for i in at),
            ids=self.ids[at],
            special=self.special[at],
            offsets=self.offsets[at],
            words=self.words[at],
            segments=tuple(self.segments[i] for i in at),
        )


@dataclass(frozen=True)
class Text:
    """One input as the user gave it: a text, perhaps with a second segment, a target or as chat messages."""

    text: str
    pair: str | None = None
    target: str | None = None
    messages: tuple[Mapping[str, str], ...] = ()


@dataclass(frozen=True, eq=False)
class Input:
    """One input as the model read it.

    source   what an encoder or a decoder-only model reads
    target   what the decoder of an encoder-decoder reads, None for models of one stack
    """

    index: int
    text: Text
    source: Tokens
    target: Tokens | None = None

    def sides(self, kind: Kind) -> tuple[Tokens, Tokens]:
        """The query tokens and key tokens of a kind of attention."""
        if self.target is None:
            return self.source, self.source
        queries = self.source if kind == "encoder" else self.target
        return queries, self.target if kind == "decoder" else self.source
