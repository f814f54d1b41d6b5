"""A stream merged into words or without special tokens, row by row: full maps are never in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from attncli.data import Input, Kind, Rows, Tokens
from attncli.data.transforms import without_special
from attncli.data.words import merged_words, word_groups
from attncli.stream.protocol import Sink, on_host
from attncli.stream.replay import rows_of
from attncli.stream.sums import Sums, add_sums, join_heads

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

    def words_at(self, positions: torch.Tensor) -> torch.Tensor:
        """Return the words of the tokens at these positions; the number of words for padding."""
        return torch.where(positions < 0, len(self.pieces), self.word_of[positions])


class MergedRows:
    """A sink that merges each row into words, or drops special tokens, and passes it on to another sink.

    A word whose rows come in several blocks is passed on with its last row; no other rows are kept. The result is that
    of `to_words` and `drop_special` for full maps.

    norms   whether the stream has norms, which are not rescaled when tokens are dropped
    inputs  the texts as the other sink gets them; its `result` needs these
    """

    def __init__(
        self, sink: Sink, inputs: Sequence[Input], *, words: bool = False, drop: bool = False, norms: bool = False
    ) -> None:
        self._sink, self._words, self._drop, self._norms = sink, words, drop, norms
        self._texts = {text.index: text for text in inputs}
        self.inputs = merge_inputs(inputs, words=words, drop=drop)
        self._merged_texts = {text.index: text for text in self.inputs}
        self._groups: dict[tuple[int, Kind, torch.device], tuple[_Groups, _Groups]] = {}
        # number of rows and sums so far, by text and word, then by the heads of a block
        self._incomplete: dict[tuple[int, int], dict[tuple[int, ...], tuple[int, Sums]]] = {}
        self._removed: dict[int, torch.Tensor] = {}
        self._removed_shares: list[float] = []

    @property
    def removed_mass(self) -> float:
        """Return the mean share of attention on dropped special tokens so far, NaN if none was dropped."""
        return float(np.mean(self._removed_shares)) if self._removed_shares else float("nan")

    def add(self, rows: Rows) -> None:
        """Merge one block and pass on its complete words."""
        rows = on_host(rows)
        for entry, text in enumerate(rows.texts):
            self._merge_text(rows, entry, (rows.kind, rows.layer, text))

    def _merge_text(self, rows: Rows, entry: int, layer: _TextLayer) -> None:
        queries, keys = self._groups_of(layer, rows.weights.device)
        words, word_of_row = torch.unique(queries.words_at(rows.query_positions[entry]), return_inverse=True)
        sums = _sums_by_word(rows, entry, word_of_row, len(words), keys)
        counts = word_of_row.bincount(minlength=len(words)).tolist()
        complete = []
        for index, (word, count) in enumerate(zip(words.tolist(), counts, strict=True)):
            if word == len(queries.pieces):
                continue
            if count == queries.pieces[word]:
                complete.append(index)
            else:
                self._continue_word(layer, rows.heads, word, count, _of_words(sums, [index]))
        if complete:
            self._pass_on(layer, rows.heads, words[complete], _of_words(sums, complete))

    def _continue_word(self, layer: _TextLayer, heads: tuple[int, ...], word: int, count: int, sums: Sums) -> None:
        """Add rows to an incomplete word, and pass it on if it is complete now."""
        device, by_heads = sums["weights"].device, self._incomplete.setdefault((layer[2], word), {})
        rows_before, sums_before = by_heads.pop(heads, (0, None))
        count, sums = rows_before + count, add_sums(sums_before, sums)
        if count == self._groups_of(layer, device)[0].pieces[word]:
            self._pass_on(layer, heads, torch.tensor([word], device=device), sums)
        else:
            by_heads[heads] = count, sums

    def _pass_on(self, layer: _TextLayer, heads: tuple[int, ...], words: torch.Tensor, sums: Sums) -> None:
        kind, _, text = layer
        weights, defined = sums["weights"] / sums["rows"].clamp_min(1)[..., None], sums["rows"] > 0
        removed, weights = weights[..., -1], weights[..., :-1]
        if self._drop:
            remaining = weights.sum(-1)
            total = removed + remaining if self._norms else torch.ones_like(removed)
            share = (removed / torch.where(total > 0, total, 1.0)) * defined
            share_and_count = torch.stack([share.sum(), defined.expand_as(removed).sum()])
            self._removed[text] = share_and_count + self._removed.get(text, 0)
            if not self._norms:
                weights = weights / torch.where(remaining > 0, remaining, 1.0)[..., None]
            defined = defined & (remaining > 0)
        visible = (sums["visible"] > 0) & defined[..., None]
        self._sink.add(rows_of(layer, heads, weights.float(), visible, words, self._merged_texts[text].sides(kind)))

    def end_layer(self, kind: Kind, layer: int) -> None:
        """Pass on words whose rows came with different heads each time, and end the layer."""
        for (text, word), by_heads in self._incomplete.items():
            if by_heads:
                heads, sums = join_heads((heads, _of_all_heads(sums)) for heads, (_, sums) in by_heads.items())
                self._pass_on((kind, layer, text), heads, torch.tensor([word], device=sums["rows"].device), sums)
        self._incomplete.clear()
        shares = [float(total / count) for total, count in self._removed.values()]
        self._removed_shares += [share for share in shares if not np.isnan(share)]
        self._removed.clear()
        self._sink.end_layer(kind, layer)

    def _groups_of(self, layer: _TextLayer, device: torch.device) -> tuple[_Groups, _Groups]:
        """Return the groups of the queries and of the keys of a text."""
        kind, _, text = layer
        key = text, kind, device
        if key not in self._groups:
            queries, keys = (
                _Groups.of(side, self._words, self._drop, device) for side in self._texts[text].sides(kind)
            )
            self._groups[key] = queries, keys
        return self._groups[key]


def _sums_by_word(rows: Rows, entry: int, word_of_row: torch.Tensor, words: int, keys: _Groups) -> Sums:
    """Return the rows of one text summed over the rows of each word and the keys of each key word.

    weights  [1, head, word, key word] sums of weights; the last key word collects dropped keys
    rows     [1, 1 or head, word] number of summed rows that see a key
    visible  [1, 1 or head, word, key word] number of visible pairs of pieces
    """
    word_of_key = keys.words_at(rows.key_positions[entry])
    real, visible = rows.real[entry], rows.visible_pairs[entry]
    weights = rows.weights[entry].masked_fill(~real[..., None], 0)

    def sum_groups(values: torch.Tensor) -> torch.Tensor:
        by_row = values.new_zeros((len(values), words, values.shape[2])).index_add_(1, word_of_row, values)
        return by_row.new_zeros((*by_row.shape[:2], len(keys.pieces) + 1)).index_add_(2, word_of_key, by_row)

    real_rows = real.double().new_zeros((len(real), words)).index_add_(1, word_of_row, real.double())
    sums = {
        "weights": sum_groups(weights.double()),
        "rows": real_rows,
        "visible": sum_groups(visible.float())[..., :-1],
    }
    return {name: values[None] for name, values in sums.items()}


def _of_words(sums: Sums, indices: list[int]) -> Sums:
    return {name: values[:, :, indices] for name, values in sums.items()}


def _of_all_heads(sums: Sums) -> Sums:
    """Return the sums with an entry for each head, also where all heads share a mask."""
    heads = sums["weights"].shape[1]
    return {name: values.expand(-1, heads, *values.shape[2:]) for name, values in sums.items()}
