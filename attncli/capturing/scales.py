"""Attention whose rows or keys are not the tokens of the text: they stand for several tokens, or for none."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from torch import nn
from transformers import PreTrainedModel

from attncli.capturing.intercept import CallKey
from attncli.data import Input, Kind, Span, Tokens
from attncli.data.surfaces import token_texts
from attncli.inputs.batches import Batch

Entries = Callable[[int], Sequence[Span | int]]
"""A function of the number of tokens: it returns the first and last token of each entry, or the number of a slot."""


@dataclass(frozen=True)
class Scale:
    """The rows and the keys of a kind of attention, for texts of any length.

    kind  name of the kind, with the scale: encoder-pooled-4x4
    """

    kind: Kind
    rows: Entries
    keys: Entries

    def shape(self, tokens: int) -> tuple[int, int]:
        """Return the number of rows and of keys for a text of this number of tokens."""
        return len(self.rows(tokens)), len(self.keys(tokens))

    def has_only_tokens(self, tokens: int) -> bool:
        """Return whether rows and keys of a text of this length are its tokens, one by one."""
        return all(list(entries(tokens)) == _each(tokens) for entries in (self.rows, self.keys))

    def sides(self, text: Input) -> tuple[Tokens, Tokens]:
        """Return the rows and the keys of one text, named by their tokens."""
        rows, keys = (_named(entries(len(text.source)), text.source) for entries in (self.rows, self.keys))
        return rows, keys


def with_scales(batch: Batch, scales: Sequence[Scale]) -> Batch:
    """Return the batch with the rows and keys of each kind with a scale, for each text."""
    if all(scale.kind in text.scaled for scale in scales for text in batch.inputs):
        return batch
    inputs = (replace(text, scaled={scale.kind: scale.sides(text) for scale in scales}) for text in batch.inputs)
    return replace(batch, inputs=tuple(inputs))


def scale_of(model: PreTrainedModel, key: CallKey) -> Scale | None:
    """Return the scale of an attention call; None if its rows and keys are tokens, or unknown."""
    module = model.get_submodule(key[0])
    find = _FINDERS.get(type(module).__name__)
    return find(module, model, key) if find else None


def _named(entries: Sequence[Span | int], tokens: Tokens) -> Tokens:
    """Return one token for each entry, with the exact pieces of the tokens that it stands for.

    These are the tokens themselves if each entry is one of them.
    """
    if list(entries) == _each(len(tokens)):
        return tokens
    texts, pieces = token_texts(tokens), tokens.vocabulary_pieces
    names, merged, single = [], [], []
    for entry in entries:
        first, last = (entry, entry) if isinstance(entry, int) else entry
        slot = isinstance(entry, int)
        single.append(-1 if slot or first != last else first)
        names.append(f"slot {first}" if slot else texts[first] if first == last else f"tokens {first}-{last}")
        merged.append(names[-1] if slot else " ".join(pieces[first : last + 1]))
    known = np.array(single)

    def of_singles(values: Any, other: int) -> Any:
        return np.where(known >= 0, np.asarray(values)[known], other)

    return replace(
        Tokens.plain(names),
        ids=of_singles(tokens.ids, -1),
        special=of_singles(tokens.special, 0).astype(bool),
        words=np.full(len(names), -1),
        segments=tuple(tokens.segments[index] if index >= 0 else "" for index in single),
        merged=tuple(merged),
    )


def _each(tokens: int) -> list[Span]:
    """Return an entry for each token."""
    return [(token, token) for token in range(tokens)]


def _pooled_by_two(separate_first: bool, truncate: bool, times: int, tokens: int) -> list[Span]:
    """Return the entries of a Funnel block: pairs of entries, pooled again and again.

    separate_first  the first entry is pooled with a copy of itself, so that [CLS] stays alone
    truncate        the last entry is left out then
    """
    entries = _each(tokens)
    for _ in range(times):
        if len(entries) <= 1 + separate_first:
            break
        if separate_first:
            entries = [entries[0], *(entries[:-1] if truncate else entries)]
        entries = [(pair[0][0], pair[-1][1]) for pair in (entries[at : at + 2] for at in range(0, len(entries), 2))]
    return entries


def _first_and_windows(rate: int, tokens: int) -> list[Span]:
    """Return the entries of CANINE's deep encoder: the first token, then windows; it leaves out the last window."""
    return [(0, 0), *((start, start + rate - 1) for start in range(0, (tokens // rate - 1) * rate, rate))]


def _each_and_windows(rate: int, width: int, tokens: int) -> list[Span]:
    """Return an entry for each token, then one for each full window: the last `width` tokens up to its end."""
    ends = range(rate - 1, tokens // rate * rate, rate)
    return [*_each(tokens), *((max(0, end - width + 1), end) for end in ends)]


def _slots(count: int, tokens: int) -> list[int]:
    """Return an entry for each slot of a canvas."""
    return list(range(count))


def _last_and_slots(kept: int | None, count: int, tokens: int) -> list[Span | int]:
    """Return an entry for each of the last tokens (all if `kept` is None), then for each slot of a canvas."""
    return [*_each(tokens)[0 if kept is None else max(0, tokens - kept) :], *_slots(count, tokens)]


def _funnel(module: nn.Module, model: PreTrainedModel, key: CallKey) -> Scale | None:
    place = re.search(r"(?:^|\.)encoder\.blocks\.(\d+)\.(\d+)\.attention$", key[0])
    block = int(place[1]) if place else 0
    if place is None or block == 0:
        return None
    pools_here = place[2] == "0" and key[1] == 0
    config: Any = module.config
    levels = block, block - 1 if pools_here and config.pool_q_only else block
    rows, keys = (partial(_pooled_by_two, config.separate_cls, config.truncate_seq, level) for level in levels)
    return Scale(f"encoder-pooled-{2 ** levels[0]}x{2 ** levels[1]}", rows, keys)


def _canine(module: nn.Module, model: PreTrainedModel, key: CallKey) -> Scale | None:
    if not re.search(r"(?:^|\.)encoder\.layer\.\d+\.attention\.self$", key[0]):
        return None  # the layers over characters
    rate = model.config.downsampling_rate
    entries = partial(_first_and_windows, rate)
    return Scale(f"encoder-pooled-{rate}x{rate}", entries, entries)


def _deepseek(module: nn.Module, model: PreTrainedModel, key: CallKey) -> Scale | None:
    compressor = getattr(module, "compressor", None)
    if not isinstance(compressor, nn.Module):
        return None  # a layer with a sliding window
    rate = int(compressor.compress_rate)  # type: ignore[arg-type]
    overlaps = getattr(compressor, "indexer", None) is not None
    return Scale(f"decoder-compressed-{rate}", _each, partial(_each_and_windows, rate, rate * (1 + overlaps)))


def _diffusion(module: nn.Module, model: PreTrainedModel, key: CallKey) -> Scale:
    """Return the scale of a layer that fills a canvas: its slots see the prompt, or its end, and each other."""
    window: Any = getattr(module, "sliding_window", None)
    kept = None if window is None else window - 1
    name = "canvas" if kept is None else f"canvas-window-{kept}"
    slots = int(model.config.canvas_length)
    return Scale(f"decoder-{name}", partial(_slots, slots), partial(_last_and_slots, kept, slots))


_FINDERS: Mapping[str, Callable[[nn.Module, PreTrainedModel, CallKey], Scale | None]] = {
    "CanineSelfAttention": _canine,
    "DeepseekV4Attention": _deepseek,
    "DiffusionGemmaDecoderTextAttention": _diffusion,
    "FunnelRelMultiheadAttention": _funnel,
}
"""By class of the calling module: the function that finds the scale of a call."""
