"""A stream merged into words or without special tokens, row by row: full maps are never in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from attncli.data import Input, Kind, Rows, Tokens, Visibility
from attncli.data.transforms import without_special
from attncli.data.words import merged_words, word_groups
from attncli.stream.protocol import Sink, on_host
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
    most    of texts with more than twice as many words, at most this many evenly spread words are passed on: the other
            sink must take rows with others missing between them
    inputs  the texts as the other sink gets them; its `result` needs these
    """

    def __init__(
        self,
        sink: Sink,
        inputs: Sequence[Input],
        *,
        words: bool = False,
        drop: bool = False,
        norms: bool = False,
        most: int | None = None,
    ) -> None:
        self._sink, self._words, self._drop, self._norms, self._most = sink, words, drop, norms, most
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
        memory, strip_key = rows.visibility.cache, (self, entry, layer[2])
        if strip_key not in memory:
            queries, keys = self._groups_of(layer, rows.raw.device)
            memory[strip_key] = _Strip.of(rows, entry, queries, keys, self._step(len(queries.pieces)))
        strip: _Strip = memory[strip_key]
        if not strip.complete and not strip.incomplete:
            return
        weights = strip.sum_weights(rows, entry)
        for index, word, count in strip.incomplete:
            sums = {"weights": strip.on_all_keys(weights[:, :, [index]]), **strip.mask_sums([index])}
            self._continue_word(layer, rows.heads, word, count, sums)
        if strip.complete:
            if len(strip.complete) < len(strip.words):
                weights = weights[:, :, strip.complete]
            self._pass_on(layer, rows.heads, strip, weights)

    def _step(self, words: int) -> int:
        """Return n if only every n-th word of a text is passed on; 1 for all words."""
        return 1 if self._most is None or words <= 2 * self._most else -(-words // self._most)

    def _continue_word(self, layer: _TextLayer, heads: tuple[int, ...], word: int, count: int, sums: Sums) -> None:
        """Add rows to an incomplete word, and pass it on if it is complete now."""
        device, by_heads = sums["weights"].device, self._incomplete.setdefault((layer[2], word), {})
        rows_before, sums_before = by_heads.pop(heads, (0, None))
        count, sums = rows_before + count, add_sums(sums_before, sums)
        if count == self._groups_of(layer, device)[0].pieces[word]:
            self._pass_on_word(layer, heads, word, sums)
        else:
            by_heads[heads] = count, sums

    def _pass_on_word(self, layer: _TextLayer, heads: tuple[int, ...], word: int, sums: Sums) -> None:
        """Pass on a word whose rows came in several blocks, on all keys."""
        keys = self._groups_of(layer, sums["weights"].device)[1]
        everything = slice(0, len(keys.pieces))
        words = torch.tensor([word], device=sums["rows"].device)
        strip = _Strip(
            None, words, words, words, everything, sums["rows"], sums["visible"][..., :-1] > 0, [0], [], keys
        )
        self._pass_on(layer, heads, strip, sums["weights"])

    def _pass_on(self, layer: _TextLayer, heads: tuple[int, ...], strip: _Strip, weights: torch.Tensor) -> None:
        """Pass on the complete words of a strip; `weights` [1, head, word, key word + 1] are changed."""
        kind, number, text = layer
        rows = strip.rows[:, :, strip.complete]
        defined, factors = rows > 0, 1 / rows.clamp_min(1)
        removed, weights, lost = weights[..., -1] * factors, weights[..., :-1], None
        if self._drop:
            remaining = weights.sum(-1) * factors
            total = removed + remaining if self._norms else torch.ones_like(removed)
            share = (removed / torch.where(total > 0, total, 1.0)) * defined
            share_and_count = torch.stack([share.sum(), defined.expand_as(removed).sum()])
            self._removed[text] = share_and_count + self._removed.get(text, 0)
            if not self._norms:
                factors = factors / torch.where(remaining > 0, remaining, 1.0)
            lost = defined & (remaining <= 0)
        weights = weights.mul_(factors.to(weights.dtype)[..., None]).float()
        sides = self._merged_texts[text].sides(kind)
        visibility = strip.visibility(sides, lost if lost is not None and bool(lost.any()) else None)
        self._sink.add(Rows(kind, number, heads, (text,), weights, visibility))

    def end_layer(self, kind: Kind, layer: int) -> None:
        """Pass on words whose rows came with different heads each time, and end the layer."""
        for (text, word), by_heads in self._incomplete.items():
            if by_heads:
                heads, sums = join_heads((heads, _of_all_heads(sums)) for heads, (_, sums) in by_heads.items())
                self._pass_on_word((kind, layer, text), heads, word, sums)
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


@dataclass(eq=False)
class _Strip:
    """What merging needs to know of the rows of one text in a block, which the blocks of all heads share.

    rows_read    the rows of the block whose words are passed on; None for all
    words        [word] numbers of the words of these rows
    word_of_row  [row] index of the word of each of them
    word_of_key  [key] index of the word of each key; the number of words for dropped keys
    keys         the words of the keys: from the first to the last one
    rows         [1, 1 or head, word] number of rows that see a key
    visible      [1, 1 or head, word, key word]
    complete     indices of the words of which the block has all rows
    incomplete   index, number and rows of each other word, without dropped ones
    """

    rows_read: torch.Tensor | None
    words: torch.Tensor
    word_of_row: torch.Tensor
    word_of_key: torch.Tensor
    keys: slice
    rows: torch.Tensor
    visible: torch.Tensor
    complete: list[int]
    incomplete: list[tuple[int, int, int]]
    key_groups: _Groups
    _visibility: Visibility | None = None

    @classmethod
    def of(cls, rows: Rows, entry: int, queries: _Groups, keys: _Groups, step: int) -> _Strip:
        """Return the strip of a block; `step`: n if only every n-th word is passed on."""
        all_words, rows_read = queries.words_at(rows.query_positions[entry]), None
        if step > 1:
            rows_read = torch.nonzero((all_words % step == 0) & (all_words < len(queries.pieces)))[:, 0]
            all_words = all_words[rows_read]
        words, word_of_row = torch.unique(all_words, return_inverse=True)
        word_of_key, dropped = keys.words_at(rows.key_positions[entry]), len(keys.pieces)
        kept = word_of_key[word_of_key < dropped]
        span = slice(int(kept.min()), int(kept.max()) + 1) if len(kept) else slice(0, dropped)
        width = span.stop - span.start
        word_of_key = torch.where(word_of_key < dropped, word_of_key - span.start, width)
        real, visible = rows.real[entry].double(), rows.visible_pairs[entry]
        if rows_read is not None:
            real, visible = real[:, rows_read], visible[:, rows_read]
        strip = cls(rows_read, words, word_of_row, word_of_key, span, real, visible, [], [], keys)
        strip.rows = real.new_zeros((1, len(real), len(words))).index_add_(2, word_of_row, real[None])
        strip.visible = strip._summed(visible.float()[None])[..., :-1] > 0
        counts = word_of_row.bincount(minlength=len(words)).tolist()
        for index, (word, count) in enumerate(zip(words.tolist(), counts, strict=True)):
            if word < len(queries.pieces) and count == queries.pieces[word]:
                strip.complete.append(index)
            elif word < len(queries.pieces):
                strip.incomplete.append((index, word, count))
        return strip

    def sum_weights(self, rows: Rows, entry: int) -> torch.Tensor:
        """Return the weights of real rows, summed over the rows and keys of words: [1, head, word, key word + 1]."""
        factors = rows.factor[entry] * rows.real[entry].to(rows.factor.dtype)
        raw = rows.raw[entry]
        if self.rows_read is not None:
            raw, factors = raw[:, self.rows_read], factors[:, self.rows_read]
        return self._summed((raw * factors[..., None])[None])

    def _summed(self, values: torch.Tensor) -> torch.Tensor:
        """Return values [1, head, row, key] summed over words; the last key word collects dropped keys."""
        shape, width = values.shape, self.keys.stop - self.keys.start + 1
        by_row = values.new_zeros((1, shape[1], len(self.words), shape[3])).index_add_(2, self.word_of_row, values)
        return values.new_zeros((*by_row.shape[:3], width)).index_add_(3, self.word_of_key, by_row)

    def on_all_keys(self, sums: torch.Tensor) -> torch.Tensor:
        """Return sums [1, head, word, key word + 1] on all words of the text, and dropped keys."""
        wide = sums.new_zeros((*sums.shape[:3], len(self.key_groups.pieces) + 1))
        wide[..., self.keys], wide[..., -1] = sums[..., :-1], sums[..., -1]
        return wide

    def mask_sums(self, indices: list[int]) -> Sums:
        """Return rows and visible pairs of some words, on all words of the text."""
        visible = torch.nn.functional.pad(self.visible[:, :, indices].float(), (0, 1))
        return {"rows": self.rows[:, :, indices], "visible": self.on_all_keys(visible)}

    def visibility(self, sides: tuple[Tokens, Tokens], lost: torch.Tensor | None) -> Visibility:
        """Return the visibility of the complete words; rows that are `lost` see no key."""
        if self._visibility is not None and lost is None:
            return self._visibility
        queries, keys = sides
        words, special = self.words[self.complete], torch.from_numpy(np.array(keys.special)).to(self.words.device)
        defined = self.rows[:, :, self.complete] > 0
        visible = self.visible[:, :, self.complete] & (defined if lost is None else defined & ~lost)[..., None]
        first, last = int(words[0]), int(words[-1])
        visibility = Visibility(
            visible=visible,
            query_positions=words[None],
            key_positions=torch.arange(self.keys.start, self.keys.stop, device=words.device)[None],
            special_keys=special[None, self.keys],
            query_lengths=(len(queries),),
            key_lengths=(len(keys),),
            special_counts=(int(special.sum()),),
            slices=(slice(first, last + 1), self.keys) if last - first == len(words) - 1 else None,
        )
        if lost is None:
            self._visibility = visibility
        return visibility


def _of_all_heads(sums: Sums) -> Sums:
    """Return the sums with an entry for each head, also where all heads share a mask."""
    heads = sums["weights"].shape[1]
    return {name: values.expand(-1, heads, *values.shape[2:]) for name, values in sums.items()}
