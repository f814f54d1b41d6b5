"""A stream read by words or without special tokens, row by row: whole maps are never held."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from attncli.data import Input, Kind, Rows, Tokens
from attncli.data.words import merged_words, word_groups
from attncli.stream import Sink, selected
from attncli.stream.replay import rows_of
from attncli.stream.special_tokens import without_special


def merge_inputs(inputs: Sequence[Input], *, words: bool, drop: bool) -> tuple[Input, ...]:
    """The texts with words for pieces, and without their special tokens, where that is asked for."""

    def side(tokens: Tokens) -> Tokens:
        tokens = merged_words(tokens) if words else tokens
        return without_special(tokens) if drop else tokens

    return tuple(
        replace(one, source=side(one.source), target=None if one.target is None else side(one.target)) for one in inputs
    )


@dataclass(frozen=True)
class _Side:
    """How one side of a text is read.

    places  [token] number of the word or token that each becomes, one past the last for those that are dropped
    pieces  [word] how many tokens each has
    """

    places: torch.Tensor
    pieces: tuple[int, ...]

    @classmethod
    def of(cls, tokens: Tokens, words: bool, drop: bool) -> _Side:
        places = word_groups(tokens) if words else np.arange(len(tokens))
        first = np.unique(places, return_index=True)[1]
        kept = ~tokens.special[first] if drop else np.ones(len(first), bool)
        count = int(kept.sum())
        places = np.where(kept, kept.cumsum() - 1, count)[places]
        return cls(torch.from_numpy(places), tuple(np.bincount(places, minlength=count)[:count].tolist()))


@dataclass(frozen=True)
class _Sums:
    """Rows of words, or what came of them so far.

    weights  [head, word, key word] sum over the rows of each word; last of all what dropped keys had
    rows     [1 or head, word] how many rows that is: those that see a key
    visible  [1 or head, word, key word] how many pairs of pieces see each other
    """

    weights: torch.Tensor
    rows: torch.Tensor
    visible: torch.Tensor

    def take(self, words: torch.Tensor | list[int]) -> _Sums:
        return _Sums(self.weights[:, words], self.rows[:, words], self.visible[:, words])

    def head(self, at: int) -> _Sums:
        own = min(at, len(self.rows) - 1)
        return _Sums(self.weights[[at]], self.rows[[own]], self.visible[[own]])

    def __add__(self, other: _Sums) -> _Sums:
        return _Sums(self.weights + other.weights, self.rows + other.rows, self.visible + other.visible)


@dataclass
class _Begun:
    """A word of which some rows are still to come."""

    pieces: int
    sums: _Sums


class MergedRows:
    """A sink in front of another: reads each row by words or without special tokens, and hands it on.

    A word whose rows come in several blocks is handed on when the last has come; nothing else is held. What it is
    for whole maps, `to_words` and `drop_special` say.

    norms         what comes are norms, which are left as they are where weights are scaled up to 1
    inputs        the texts as the other sink sees them; its `result` wants these
    removed_mass  mean share of attention that dropped special tokens took, NaN where none was dropped
    """

    def __init__(
        self, sink: Sink, inputs: Sequence[Input], *, words: bool = False, drop: bool = False, norms: bool = False
    ) -> None:
        self._sink, self._words, self._drop, self._norms = sink, words, drop, norms
        self._given = {one.index: one for one in inputs}
        self.inputs = merge_inputs(inputs, words=words, drop=drop)
        self._read = {one.index: one for one in self.inputs}
        self._sides: dict[tuple[int, Kind, torch.device], tuple[_Side, _Side]] = {}
        self._begun: dict[tuple[int, int, tuple[int, ...]], _Begun] = {}
        self._taken: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self._removed: list[float] = []

    @property
    def removed_mass(self) -> float:
        """Over the layers and texts so far."""
        return float(np.mean(self._removed)) if self._removed else float("nan")

    def add(self, rows: Rows) -> None:
        """Read one block and hand it on."""
        part = selected(rows, None)
        assert part is not None
        for entry, text in enumerate(part.texts):
            self._read_rows(part, entry, text)

    def _read_rows(self, rows: Rows, entry: int, text: int) -> None:
        queries, keys = self._sides_of(text, rows.kind, rows.weights.device)
        positions = rows.query_positions[entry]
        words = torch.where(positions < 0, len(queries.pieces), queries.places[positions])
        came, inverse = torch.unique(words, return_inverse=True)
        sums = _by_word(rows, entry, inverse, len(came), keys)
        counts = inverse.bincount(minlength=len(came)).tolist()
        place = (rows.kind, rows.layer, text)
        done = []
        for at, (word, count) in enumerate(zip(came.tolist(), counts, strict=True)):
            if word == len(queries.pieces):
                continue
            if count == queries.pieces[word]:
                done.append(at)
            else:
                self._go_on(place, rows.heads, word, count, sums.take([at]))
        if done:
            self._hand_on(place, rows.heads, came[done], sums.take(done))

    def _go_on(self, place: tuple[Kind, int, int], heads: tuple[int, ...], word: int, count: int, sums: _Sums) -> None:
        """Add to a word that is not complete; hand it on where it is now."""
        key = (place[2], word, heads)
        before = self._begun.pop(key, None)
        begun = _Begun(count, sums) if before is None else _Begun(before.pieces + count, before.sums + sums)
        queries = self._sides_of(place[2], place[0], sums.weights.device)[0]
        if begun.pieces == queries.pieces[word]:
            self._hand_on(place, heads, torch.tensor([word], device=sums.weights.device), begun.sums)
        else:
            self._begun[key] = begun

    def _hand_on(self, place: tuple[Kind, int, int], heads: tuple[int, ...], words: torch.Tensor, sums: _Sums) -> None:
        weights = sums.weights / sums.rows.clamp_min(1)[..., None]
        seen = sums.rows > 0
        removed, weights = weights[..., -1], weights[..., :-1]
        if self._drop:
            remains = weights.sum(-1)
            whole = removed + remains
            self._note(place[2], removed / torch.where(whole > 0, whole, 1.0) if self._norms else removed, seen)
            if not self._norms:
                weights = weights / torch.where(remains > 0, remains, 1.0)[..., None]
            seen = seen & (remains > 0)
        visible = (sums.visible > 0) & seen[..., None]
        sides = self._read[place[2]].sides(place[0])
        self._sink.add(rows_of(place, heads, weights.float(), visible, words, sides))

    def _note(self, text: int, removed: torch.Tensor, seen: torch.Tensor) -> None:
        total, count = self._taken.get(text, (removed.new_zeros(()), removed.new_zeros(())))
        seen = seen.expand_as(removed)
        self._taken[text] = (total + (removed * seen).sum(), count + seen.sum())

    def end_layer(self, kind: Kind, layer: int) -> None:
        """Hand on words whose rows came with other heads each time, and end the layer."""
        apart: dict[tuple[int, int, int], _Sums] = {}
        for (text, word, heads), begun in self._begun.items():
            for at, head in enumerate(heads):
                own = begun.sums.head(at)
                before = apart.get((text, word, head))
                apart[text, word, head] = own if before is None else before + own
        self._begun.clear()
        for (text, word, head), sums in apart.items():
            words = torch.tensor([word], device=sums.weights.device)
            self._hand_on((kind, layer, text), (head,), words, sums)
        shares = [float(total / count) for total, count in self._taken.values()]
        self._removed += [share for share in shares if not np.isnan(share)]
        self._taken.clear()
        self._sink.end_layer(kind, layer)

    def _sides_of(self, text: int, kind: Kind, device: torch.device) -> tuple[_Side, _Side]:
        if (text, kind, device) not in self._sides:
            queries, keys = (_Side.of(tokens, self._words, self._drop) for tokens in self._given[text].sides(kind))
            self._sides[text, kind, device] = (
                replace(queries, places=queries.places.to(device)),
                replace(keys, places=keys.places.to(device)),
            )
        return self._sides[text, kind, device]


def _by_word(rows: Rows, entry: int, word: torch.Tensor, words: int, keys: _Side) -> _Sums:
    """Sums over the rows of each word, and over the keys of each key word; `word` [row] counts from 0."""
    positions = rows.key_positions[entry]
    count = len(keys.pieces)
    columns = torch.where(positions < 0, count, keys.places[positions])
    real, seen = rows.real[entry], rows.seen[entry]
    weights = rows.weights[entry].masked_fill(~real[..., None], 0)
    return _Sums(
        _grouped(weights.double(), columns, count + 1, word, words),
        real.double().new_zeros((len(real), words)).index_add_(1, word, real.double()),
        _grouped(seen.float(), columns, count + 1, word, words)[..., :-1],
    )


def _grouped(values: torch.Tensor, columns: torch.Tensor, width: int, rows: torch.Tensor, height: int) -> torch.Tensor:
    """[head, row, key] added up over rows and columns of the same number."""
    heads, _, keys = values.shape
    by_row = values.new_zeros((heads, height, keys)).index_add_(1, rows, values)
    return by_row.new_zeros((heads, height, width)).index_add_(2, columns, by_row)
