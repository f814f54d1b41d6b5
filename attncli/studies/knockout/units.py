"""What is blocked: the keys of each kind of attention one by one, as tokens, words or segments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from attncli.data import Array, Input, Kind, Rows, Selection, Spans, Tokens
from attncli.data.labels import labels
from attncli.data.surfaces import token_texts
from attncli.data.words import merged_words, word_groups
from attncli.inputs.partitions import check_has_segments, partitions
from attncli.stream import selected


@dataclass(frozen=True)
class BlockedUnit:
    """Keys that are blocked together: a token, a word or a segment.

    name       its text, or the name of the segment
    label      the name in pictures
    positions  positions of its tokens
    """

    name: str
    label: str
    positions: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class BlockedRows:
    """One kind of attention of the text: the rows from which attention is blocked, and the keys to which.

    rows    positions of the rows
    units   the units that a row can see
    random  for each unit, sets of as many random keys; empty for units of single tokens
    """

    kind: Kind
    rows: Array
    units: tuple[BlockedUnit, ...]
    random: tuple[tuple[tuple[int, ...], ...], ...] = ()


class AttentionOfRows:
    """A sink that keeps the attention of some rows of one text.

    weights  [key] mean over heads and rows of the weights, by kind and layer
    visible  [key] whether a row can see the key, by kind
    """

    def __init__(self, text: Input, rows: Mapping[Kind, Array], heads: Selection) -> None:
        self.text, self._rows, self._heads = text, rows, heads
        self._counts = {kind: len(text.sides(kind)[1]) for kind in rows}
        self.weights: dict[tuple[Kind, int], Array] = {}
        self.visible = {kind: np.zeros(count, bool) for kind, count in self._counts.items()}

    def add(self, rows: Rows) -> None:
        part = selected(rows, self._heads)
        if part is None or part.kind not in self._rows:
            return
        positions = part.query_positions[0].cpu().numpy()
        chosen = np.flatnonzero(np.isin(positions, self._rows[part.kind]))
        if not len(chosen):
            return
        keys = part.key_positions[0].cpu().numpy()
        visible = part.visible_pairs[0][:, chosen]
        weights = part.weights[0][:, chosen]
        sums = weights.masked_fill(~visible.expand(weights.shape), 0).double().sum((0, 1)).cpu().numpy()
        total = self.weights.setdefault((part.kind, part.layer), np.zeros(self._counts[part.kind]))
        count = len(self._heads[part.kind, part.layer]) * len(self._rows[part.kind])
        real = keys >= 0
        total[keys[real]] += sums[real] / count
        self.visible[part.kind][keys[real]] |= visible.any(0).any(0).cpu().numpy()[real]

    def end_layer(self, kind: Kind, layer: int) -> None:
        """Nothing is left to do."""


def units_of(text: Input, kind: Kind, divide: str | None, spans: Spans | None, words: bool) -> tuple[BlockedUnit, ...]:
    """Return all units of the keys of a text.

    divide  how the text is divided into segments; None for tokens, unless `spans` are given
    words   whether units are words instead of tokens
    """
    keys = text.sides(kind)[1]
    if divide is not None or spans is not None:
        sides = partitions(text, kind, divide or "auto", spans)
        check_has_segments([text], [sides])
        part = sides[1]
        return tuple(BlockedUnit(name, name, positions) for name, positions in part.positions().items())
    if not words:
        return _of_tokens(keys, [(position,) for position in range(len(keys))])
    groups = word_groups(keys)
    numbers = range(groups.max(initial=-1) + 1)
    return _of_tokens(merged_words(keys), [tuple(np.flatnonzero(groups == number).tolist()) for number in numbers])


def _of_tokens(tokens: Tokens, positions: Sequence[tuple[int, ...]]) -> tuple[BlockedUnit, ...]:
    return tuple(map(BlockedUnit, token_texts(tokens), labels(tokens), positions))


def visible_units(units: Iterable[BlockedUnit], visible: Array, special: Array, drop: bool) -> tuple[BlockedUnit, ...]:
    """Return the units with the keys that a row can see; without special tokens if `drop`."""
    kept = []
    for unit in units:
        positions = tuple(position for position in unit.positions if visible[position])
        if positions and not (drop and special[list(positions)].all()):
            kept.append(BlockedUnit(unit.name, unit.label, positions))
    return tuple(kept)


def random_keys(
    units: Sequence[BlockedUnit], visible: Array, special: Array, draws: int
) -> tuple[tuple[tuple[int, ...], ...], ...]:
    """Return for each unit `draws` sets of as many keys, drawn without special tokens; the seeds are 0, 1 and so on.

    A unit with as many keys as there are to draw from has none: there is only one such set.
    """
    keys = np.flatnonzero(visible & ~special)
    sets = []
    for unit in units:
        count = len(unit.positions)
        seeds = range(draws) if count < len(keys) else ()
        drawn = (np.random.default_rng(seed).choice(keys, count, replace=False) for seed in seeds)
        sets.append(tuple(tuple(sorted(of_seed.tolist())) for of_seed in drawn))
    return tuple(sets)
