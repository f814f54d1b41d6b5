"""Tokens, texts and model inputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from attncli.arguments import check, checks_arguments
from attncli.data.described import Described, counted
from attncli.data.labels import Scheme, first_labels
from attncli.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike

TokenKind = Literal["encoder", "decoder", "cross"]
"""A kind of attention whose rows and keys are the tokens of the text."""
Kind = str
"""One of `KINDS`; or one of them with a scale, such as `encoder-pooled-4x4`: see `base_kind`."""
KINDS: tuple[Kind, ...] = ("encoder", "decoder", "cross")
Direction = Literal["from", "to"]
"""Attention from chosen tokens (they are queries), or to chosen tokens (they are keys)."""
RowsAs = Literal["input", "predicted"]
"""Which row stands for a token: its own, computed from it as input, or the row before it, which predicts it."""
By = Literal["weight", "norm"]
"""What maps contain: attention weights, or value-weighted norms (weights times the norms of the values)."""
Array = np.ndarray[Any, Any]


def base_kind(kind: Kind) -> Kind:
    """Return the kind without its scale.

    A kind with a scale has rows or keys of its own, which stand for several tokens or for none.

    >>> base_kind("encoder-pooled-4x4"), base_kind("cross")
    ('encoder', 'cross')
    """
    return kind.partition("-")[0]


def has_scale(kind: Kind) -> bool:
    """Return whether rows or keys of a kind are not the tokens of the text."""
    return kind not in KINDS


def kind_order(kind: Kind) -> tuple[int, Kind]:
    """Return what kinds are sorted by: encoder, decoder, cross, each followed by its scales."""
    return KINDS.index(base_kind(kind)), kind


def predicts_tokens(kind: Kind) -> bool:
    """Return whether rows of a kind predict the next token: those of decoders and of cross-attention."""
    return kind in ("decoder", "cross")


def read_only(array: ArrayLike, dtype: DTypeLike | None = None) -> Array:
    """Return a read-only view of `array`, or `array` itself if it is read-only; copy only to change the dtype."""
    as_array = np.asarray(array, dtype=dtype)
    if not as_array.flags.writeable:
        return as_array
    view = as_array.view()
    view.flags.writeable = False
    return view


@checks_arguments
@dataclass(frozen=True, eq=False, repr=False)
class Tokens(Described):
    """The tokens along one side of an attention map.

    pieces   exact vocabulary pieces (`##ing`, `Ġthe`, `▁the`), never changed for display; merged words as written
    ids      vocabulary ids, -1 if unknown
    special  whether the tokenizer added the piece ([CLS], </s>, …)
    offsets  [token, 2] character offsets into `text`, (-1, -1) for a piece without offsets
    words    word number of each piece, -1 for none; the pieces of a word share its number
    segments name of the part of the input that contains the piece (pair: a, b; chat: role); "" for none
    scheme   how the tokenizer marks words and bytes in pieces; labels need it
    merged   exact vocabulary pieces of each merged word, with spaces between them; empty for tokens that are not merged
    gaps     whether special tokens were dropped right before each token; empty for tokens of which none were dropped
    """

    pieces: tuple[str, ...]
    ids: Array
    special: Array
    offsets: Array
    words: Array
    segments: tuple[str, ...]
    text: str = ""
    scheme: Scheme = "plain"
    merged: tuple[str, ...] = ()
    gaps: tuple[bool, ...] = ()

    def __post_init__(self) -> None:
        for name, dtype in (("ids", np.int64), ("special", np.bool_), ("offsets", np.int64), ("words", np.int64)):
            object.__setattr__(self, name, read_only(getattr(self, name), dtype))
        object.__setattr__(self, "offsets", self.offsets.reshape(-1, 2))
        lengths = {len(self.pieces), len(self.ids), len(self.special), len(self.offsets), len(self.words)}
        if lengths != {len(self.segments)}:
            raise UsageError(f"the fields of Tokens must have one entry per piece, got lengths {sorted(lengths)}")

    def __len__(self) -> int:
        return len(self.pieces)

    @classmethod
    def plain(cls, pieces: Sequence[str], text: str = "") -> Tokens:
        """Return tokens with pieces only, as for maps from other tools; each token is a word."""
        n = len(pieces)
        unknown, offsets = np.full(n, -1), np.full((n, 2), -1)
        return cls(tuple(pieces), unknown, np.zeros(n, bool), offsets, np.arange(n), ("",) * n, text)

    @property
    def vocabulary_pieces(self) -> tuple[str, ...]:
        """The exact vocabulary piece of each token; those of a merged word have spaces between them."""
        return self.merged or self.pieces

    @property
    def predicted(self) -> Array:
        """[token] the position of the token that the row of each token predicts, -1 for none.

        That is the next token. The last row has none, nor has a row after which special tokens were dropped: it
        predicts the first of these.

        >>> Tokens.plain(["The", "cat", "sat"]).predicted.tolist()
        [1, 2, -1]
        """
        following = np.arange(1, len(self) + 1)
        following[len(self) - 1 :] = -1
        if self.gaps:
            following[:-1][np.array(self.gaps[1:], bool)] = -1
        return following

    def take(self, index: Array | Sequence[int]) -> Tokens:
        """Return the tokens at these positions, in this order."""
        positions, count = np.asarray(index), len(self)
        whole = positions.dtype.kind in "iu" or not positions.size
        if not whole or ((positions < -count) | (positions >= count)).any():
            raise UsageError(f"expected positions of {count} tokens, counted from 0")
        positions = positions.astype(np.int64)
        return replace(
            self,
            pieces=tuple(self.pieces[i] for i in positions),
            segments=tuple(self.segments[i] for i in positions),
            merged=tuple(self.merged[i] for i in positions) if self.merged else (),
            gaps=tuple(self.gaps[i] for i in positions) if self.gaps else (),
            **{name: getattr(self, name)[positions] for name in ("ids", "special", "offsets", "words")},
        )

    def _lines(self) -> Iterable[str]:
        yield f"Tokens: {counted(len(self), 'token')}: {first_labels(self)}"


@dataclass(frozen=True, repr=False)
class Text(Described):
    """One input as the user gave it: a text, optionally with a second segment, a target, or chat messages."""

    text: str
    pair: str | None = None
    target: str | None = None
    messages: tuple[Mapping[str, str], ...] = ()

    def __post_init__(self) -> None:
        for name in ("text", "pair", "target"):
            check(f"the {name}", getattr(self, name), str if name == "text" else str | None)

    @property
    def line(self) -> str:
        """All parts in one line: text, pair and target, or the messages of a chat.

        >>> Text("One\\n two.", pair="Three.").line
        'One two. | Three.'
        """
        parts = [part for part in (self.text, self.pair, self.target) if part]
        parts = parts or [str(message.get("content", "")) for message in self.messages]
        return " ".join(" | ".join(parts).split())

    def __hash__(self) -> int:
        # messages are dictionaries, which have no hash
        return hash((self.text, self.pair, self.target))

    def _lines(self) -> Iterable[str]:
        parts = {"text": self.text, "pair": self.pair, "target": self.target}
        given = [f"{name}={_shortened(part)!r}" for name, part in parts.items() if part is not None]
        yield f"Text({', '.join([*given, *([f'{len(self.messages)} messages'] if self.messages else [])])})"


def _shortened(text: str) -> str:
    return text if len(text) <= 60 else text[:60] + "…"


@checks_arguments
@dataclass(frozen=True, eq=False, repr=False)
class Input(Described):
    """One input as the model read it.

    source   tokens that an encoder or a decoder-only model reads
    target   tokens that the decoder of an encoder-decoder reads; None for other models
    scaled   the rows and the keys of each kind with a scale
    """

    index: int
    text: Text
    source: Tokens
    target: Tokens | None = None
    scaled: Mapping[Kind, tuple[Tokens, Tokens]] = field(default_factory=dict)

    def sides(self, kind: Kind) -> tuple[Tokens, Tokens]:
        """Return the query tokens and the key tokens of a kind of attention; raise UsageError if it is unknown."""
        if kind in self.scaled:
            return self.scaled[kind]
        if kind not in KINDS:
            raise UsageError(f"unknown kind {kind[:60]!r}: {did_you_mean(kind, [*KINDS, *self.scaled])}")
        if self.target is None:
            return self.source, self.source
        queries = self.source if kind == "encoder" else self.target
        return queries, self.target if kind == "decoder" else self.source

    def _lines(self) -> Iterable[str]:
        yield f"Input {self.index}: {counted(len(self.source), 'token')}: {first_labels(self.source)}"
        if self.target is not None:
            yield f"target of {counted(len(self.target), 'token')}: {first_labels(self.target)}"
