"""A stream merged into words or without special tokens, row by row: full maps are never in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from attncli.data import Input, Kind, Rows, Tokens
from attncli.data.transforms import merged_words, without_special, word_groups
from attncli.stream.protocol import Sink, on_host
from attncli.stream.replay import rows_of

_TextLayer = tuple[Kind, int, int]
"""Kind, layer and text."""


def merge_inputs(inputs: Sequence[Input], *, words: bool, drop: bool) -> tuple[Input, ...]:
    """Return the texts with words instead of pieces (`words`) and without special tokens (`drop`)."""

    def merge(tokens: Tokens) -> Tokens:
        tokens = merged_words(tokens) if words else tokens
        return without_special(tokens) if drop else tokens

    return tuple(
        replace(text, source=merge(text.source), target=None if text.target is None else merge(text.target))
        for text in inputs
    )


@dataclass(frozen=True)
class _Groups:
    """How the tokens of one side of a text are merged into words.

    word_of  [token] number of the word of each token; the number of words for dropped tokens
    pieces   number of tokens of each word
    """

    word_of: torch.Tensor
    pieces: tuple[int, ...]

    @classmethod
    def of(cls, tokens: Tokens, words: bool, drop: bool, device: torch.device) -> _Groups:
        groups = word_groups(tokens) if words else np.arange(len(tokens))
        first = np.unique(groups, return_index=True)[1]
        kept = ~tokens.special[first] if drop else np.ones(len(first), bool)
        count = int(kept.sum())
        word_of = np.where(kept, kept.cumsum() - 1, count)[groups]
        pieces = tuple(np.bincount(word_of, minlength=count)[:count].tolist())
        return cls(torch.from_numpy(word_of).to(device), pieces)


@dataclass(frozen=True)
class _WordSums:
    """Rows of words, summed over the pieces that came so far.

    weights  [head, word, key word] sums of weights; the last key word collects dropped keys
    rows     [1 or head, word] number of summed rows that see a key
    visible  [1 or head, word, key word] number of visible pairs of pieces
    """

    weights: torch.Tensor
    rows: torch.Tensor
    visible: torch.Tensor

    def of_words(self, words: list[int]) -> _WordSums:
        return _WordSums(self.weights[:, words], self.rows[:, words], self.visible[:, words])

    def of_head(self, index: int) -> _WordSums:
        mask_index = min(index, len(self.rows) - 1)
        return _WordSums(self.weights[[index]], self.rows[[mask_index]], self.visible[[mask_index]])

    def __add__(self, other: _WordSums) -> _WordSums:
        return _WordSums(self.weights + other.weights, self.rows + other.rows, self.visible + other.visible)


class MergedRows:
    """A sink that merges each row into words, or drops special tokens, and passes it on to another sink.

    A word whose rows come in several blocks is passed on with its last row; no other rows are kept. The result is that
    of `to_words` and `drop_special` for full maps.

    norms         whether the stream has norms, which are not rescaled when tokens are dropped
    inputs        the texts as the other sink gets them; its `result` needs these
    removed_mass  mean share of attention on dropped special tokens, NaN if none was dropped
    """

    def __init__(
        self, sink: Sink, inputs: Sequence[Input], *, words: bool = False, drop: bool = False, norms: bool = False
    ) -> None:
        self._sink, self._words, self._drop, self._norms = sink, words, drop, norms
        self._texts = {text.index: text for text in inputs}
        self.inputs = merge_inputs(inputs, words=words, drop=drop)
        self._merged_texts = {text.index: text for text in self.inputs}
        self._groups: dict[tuple[int, Kind, torch.device], tuple[_Groups, _Groups]] = {}
        self._incomplete: dict[tuple[int, int, tuple[int, ...]], tuple[int, _WordSums]] = {}
        self._removed: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self._removed_shares: list[float] = []

    @property
    def removed_mass(self) -> float:
        """Return the mean over the layers and texts so far."""
        return float(np.mean(self._removed_shares)) if self._removed_shares else float("nan")

    def add(self, rows: Rows) -> None:
        """Merge one block and pass on its complete words."""
        rows = on_host(rows)
        for entry, text in enumerate(rows.texts):
            self._merge_text(rows, entry, text)

    def _merge_text(self, rows: Rows, entry: int, text: int) -> None:
        queries, keys = self._groups_of(text, rows.kind, rows.weights.device)
        positions = rows.query_positions[entry]
        words_of_rows = torch.where(positions < 0, len(queries.pieces), queries.word_of[positions])
        words, inverse = torch.unique(words_of_rows, return_inverse=True)
        sums = _sums_by_word(rows, entry, inverse, len(words), keys)
        counts = inverse.bincount(minlength=len(words)).tolist()
        layer = (rows.kind, rows.layer, text)
        complete = []
        for index, (word, count) in enumerate(zip(words.tolist(), counts, strict=True)):
            if word == len(queries.pieces):
                continue
            if count == queries.pieces[word]:
                complete.append(index)
            else:
                self._continue_word(layer, rows.heads, word, count, sums.of_words([index]))
        if complete:
            self._pass_on(layer, rows.heads, words[complete], sums.of_words(complete))

    def _continue_word(self, layer: _TextLayer, heads: tuple[int, ...], word: int, count: int, sums: _WordSums) -> None:
        """Add rows to an incomplete word, and pass it on if it is complete now."""
        kind, _, text = layer
        key, device = (text, word, heads), sums.weights.device
        if (before := self._incomplete.pop(key, None)) is not None:
            count, sums = before[0] + count, before[1] + sums
        if count == self._groups_of(text, kind, device)[0].pieces[word]:
            self._pass_on(layer, heads, torch.tensor([word], device=device), sums)
        else:
            self._incomplete[key] = count, sums

    def _pass_on(self, layer: _TextLayer, heads: tuple[int, ...], words: torch.Tensor, sums: _WordSums) -> None:
        weights = sums.weights / sums.rows.clamp_min(1)[..., None]
        defined = sums.rows > 0
        removed, weights = weights[..., -1], weights[..., :-1]
        kind, _, text = layer
        if self._drop:
            remaining = weights.sum(-1)
            total = removed + remaining
            self._note_removed(text, removed / torch.where(total > 0, total, 1.0) if self._norms else removed, defined)
            if not self._norms:
                weights = weights / torch.where(remaining > 0, remaining, 1.0)[..., None]
            defined = defined & (remaining > 0)
        visible = (sums.visible > 0) & defined[..., None]
        sides = self._merged_texts[text].sides(kind)
        self._sink.add(rows_of(layer, heads, weights.float(), visible, words, sides))

    def _note_removed(self, text: int, removed: torch.Tensor, defined: torch.Tensor) -> None:
        total, count = self._removed.get(text, (removed.new_zeros(()), removed.new_zeros(())))
        defined = defined.expand_as(removed)
        self._removed[text] = total + (removed * defined).sum(), count + defined.sum()

    def end_layer(self, kind: Kind, layer: int) -> None:
        """Pass on words whose rows came with different heads each time, and end the layer."""
        by_head: dict[tuple[int, int, int], _WordSums] = {}
        for (text, word, heads), (_, sums) in self._incomplete.items():
            for index, head in enumerate(heads):
                before, of_head = by_head.get((text, word, head)), sums.of_head(index)
                by_head[text, word, head] = of_head if before is None else before + of_head
        self._incomplete.clear()
        for (text, word, head), sums in by_head.items():
            self._pass_on((kind, layer, text), (head,), torch.tensor([word], device=sums.weights.device), sums)
        shares = [float(total / count) for total, count in self._removed.values()]
        self._removed_shares += [share for share in shares if not np.isnan(share)]
        self._removed.clear()
        self._sink.end_layer(kind, layer)

    def _groups_of(self, text: int, kind: Kind, device: torch.device) -> tuple[_Groups, _Groups]:
        key = text, kind, device
        if key not in self._groups:
            queries, keys = self._texts[text].sides(kind)
            self._groups[key] = (
                _Groups.of(queries, self._words, self._drop, device),
                _Groups.of(keys, self._words, self._drop, device),
            )
        return self._groups[key]


def _sums_by_word(rows: Rows, entry: int, word_of_row: torch.Tensor, words: int, keys: _Groups) -> _WordSums:
    """Return the rows of one text summed over the rows of each word and the keys of each key word."""
    positions = rows.key_positions[entry]
    count = len(keys.pieces)
    word_of_key = torch.where(positions < 0, count, keys.word_of[positions])
    real, visible = rows.real[entry], rows.visible_pairs[entry]
    weights = rows.weights[entry].masked_fill(~real[..., None], 0)
    sizes = words, count + 1
    return _WordSums(
        _sum_groups(weights.double(), word_of_row, word_of_key, sizes),
        real.double().new_zeros((len(real), words)).index_add_(1, word_of_row, real.double()),
        _sum_groups(visible.float(), word_of_row, word_of_key, sizes)[..., :-1],
    )


def _sum_groups(
    values: torch.Tensor, row_groups: torch.Tensor, key_groups: torch.Tensor, sizes: tuple[int, int]
) -> torch.Tensor:
    """Return [head, row, key] summed over the rows and keys of each group: [head, row group, key group]."""
    heads, _, keys = values.shape
    by_row = values.new_zeros((heads, sizes[0], keys)).index_add_(1, row_groups, values)
    return by_row.new_zeros((heads, *sizes)).index_add_(2, key_groups, by_row)
