"""Attention between the segments of a text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from attncli.data.described import Tabulated, counted, listed
from attncli.data.results import Scores, columns_of, frame_of
from attncli.data.tokens import Array

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False, repr=False)
class Segments(Tabulated):
    """Attention from each segment of a text to each other.

    heads   `mass`, `uniform_mass`, `positional_mass` and `ratio` with dim `row` (coords kind, layer, head, from, to,
            texts). mass: attention to all keys of a segment, averaged over the real queries of another, from 0 to 1;
            uniform_mass and positional_mass: the same under uniform weights over the visible keys, and under the
            head's own mean weight at each offset; ratio: mass / uniform_mass. Over several texts, the mean over those
            that have both segments
    std     population standard deviation of `mass` and `uniform_mass` over texts; empty for one text
    tokens  `mass` and `uniform_mass` with dim `row` (coords text, kind, layer, query, token, to): the same for each
            generated token, averaged over the heads of a layer; empty if none was generated
    Undefined is NaN: a ratio if no token of a segment has a visible key in the other, and position in cross-attention.
    """

    heads: Mapping[str, Scores]
    std: Mapping[str, Scores] = field(default_factory=dict)
    tokens: Mapping[str, Scores] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Scores:
        return self.heads[name]

    def table(self) -> dict[str, Array]:
        """Return a row per head and pair of segments; `_std` columns for several texts."""
        return columns_of(self.heads, self.std)

    def mean_table(self) -> dict[str, Array]:
        """Return the mean over layers and heads, and the head with the highest mass: the columns `MEAN_COLUMNS`."""
        rows = list(self._means())
        return {name: column_of([row[index] for row in rows]) for index, name in enumerate(MEAN_COLUMNS)}

    def _means(self) -> Iterator[tuple[object, ...]]:
        table = self.table()
        pairs = list(zip(*(table[name].tolist() for name in ("kind", "from", "to")), strict=True))
        rows_of_pair: dict[tuple[str, ...], list[int]] = {}
        for row, pair in enumerate(pairs):
            rows_of_pair.setdefault(pair, []).append(row)
        for pair, rows in rows_of_pair.items():
            mass, uniform, position = (_mean(table[name][rows]) for name in ("mass", "uniform_mass", "positional_mass"))
            texts = int(table["texts"][rows].max())
            top = rows[int(np.nanargmax(table["mass"][rows]))]
            if uniform:
                highest = (table[name][top] for name in ("mass", "layer", "head"))
                yield *pair, texts, mass, uniform, position, mass / uniform, *highest
            else:
                yield *pair, texts, mass, uniform, position, np.nan, np.nan, None, None

    def tokens_table(self) -> dict[str, Array]:
        """Return a row per generated token and segment."""
        return columns_of(self.tokens)

    def to_frame(self) -> pd.DataFrame:
        """Return every head as a pandas table."""
        return frame_of(self.table())

    def mean_frame(self) -> pd.DataFrame:
        """Return the mean over layers and heads as a pandas table."""
        return frame_of(self.mean_table())

    def tokens_frame(self) -> pd.DataFrame:
        """Return the generated tokens as a pandas table."""
        return frame_of(self.tokens_table())

    def _lines(self) -> Iterable[str]:
        coords = self.heads["mass"].coords
        names = dict.fromkeys([*coords["from"][1].tolist(), *coords["to"][1].tolist()])
        heads = len(set(zip(*(coords[name][1].tolist() for name in ("kind", "layer", "head")), strict=True)))
        texts = counted(int(coords["texts"][1].max(initial=0)), "text")
        yield f"Segments of {texts}: {counted(heads, 'head')} between {listed(names)}"


MEAN_COLUMNS = (
    *("kind", "from", "to", "texts", "mass", "uniform_mass", "positional_mass", "ratio"),
    *("highest_mass", "highest_layer", "highest_head"),
)


def _mean(values: Array) -> float:
    """Return the mean of the defined values, NaN if there are none."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else float("nan")


def column_of(entries: Sequence[object]) -> Array:
    """Return numbers as an array of numbers, everything else as objects."""
    plain = all(isinstance(entry, int | float | np.number) for entry in entries)
    return np.array(entries, dtype=None if plain else object)
