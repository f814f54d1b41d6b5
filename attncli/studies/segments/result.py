"""Attention between the segments of a text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from attncli.data.results import Scores, columns_of, frame_of
from attncli.data.tokens import Array

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Segments:
    """How much attention goes from each segment of a text to each other?

    heads   `mass`, `uniform_mass`, `positional_mass` and `ratio` with dim `row` (coords kind, layer, head, from, to,
            texts): the mean over the real query tokens of a segment of their attention to all keys of another; what
            attention spread evenly over the visible keys would put there, and what the head's own mean weight at each
            offset would; how many times the even share is what is found. Over several texts, the mean of those that
            have both segments
    std     `mass`, `uniform_mass`: the population standard deviation over texts (empty with one text)
    tokens  `mass`, `uniform_mass` with dim `row` (coords text, kind, layer, query, token, to): the same for each token
            that the model wrote, the mean over the heads of a layer (empty where it wrote none)
    NaN is undefined: a ratio to nothing, where no token of a segment may see the other; position in cross-attention.
    """

    heads: Mapping[str, Scores]
    std: Mapping[str, Scores] = field(default_factory=dict)
    tokens: Mapping[str, Scores] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Scores:
        return self.heads[name]

    def table(self) -> dict[str, Array]:
        """kind, layer, head, from, to, texts, mass, uniform_mass, positional_mass, ratio; `_std` over several texts."""
        return columns_of(self.heads, self.std)

    def mean_table(self) -> dict[str, Array]:
        """The mean over layers and heads, and the head that gives most: the columns of `MEAN_COLUMNS`."""
        rows = list(self._means())
        return {name: _column([row[at] for row in rows]) for at, name in enumerate(MEAN_COLUMNS)}

    def _means(self) -> Iterator[tuple[object, ...]]:
        table = self.table()
        places = list(zip(*(table[name].tolist() for name in ("kind", "from", "to")), strict=True))
        rows: dict[tuple[str, ...], list[int]] = {}
        for row, place in enumerate(places):
            rows.setdefault(place, []).append(row)
        for place, at in rows.items():
            mass, uniform, position = (_mean(table[name][at]) for name in ("mass", "uniform_mass", "positional_mass"))
            texts = int(table["texts"][at].max())
            top = at[int(np.nanargmax(table["mass"][at]))]
            if uniform:
                found = (table[name][top] for name in ("mass", "layer", "head"))
                yield *place, texts, mass, uniform, position, mass / uniform, *found
            else:
                yield *place, texts, mass, uniform, position, np.nan, np.nan, None, None

    def tokens_table(self) -> dict[str, Array]:
        """text, kind, layer, query, token, to, mass, uniform_mass: a row for each token that the model wrote."""
        return columns_of(self.tokens)

    def to_frame(self) -> pd.DataFrame:
        """Every head as a pandas table."""
        return frame_of(self.table())

    def mean_frame(self) -> pd.DataFrame:
        """The mean over layers and heads as a pandas table."""
        return frame_of(self.mean_table())

    def tokens_frame(self) -> pd.DataFrame:
        """The tokens that the model wrote as a pandas table."""
        return frame_of(self.tokens_table())


MEAN_COLUMNS = (
    *("kind", "from", "to", "texts", "mass", "uniform_mass", "positional_mass", "ratio"),
    *("highest_mass", "highest_layer", "highest_head"),
)


def _mean(values: Array) -> float:
    """Over those that are defined, NaN where none is."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else float("nan")


def _column(entries: list[object]) -> Array:
    plain = all(isinstance(entry, int | float | np.number) for entry in entries)
    return np.array(entries, dtype=None if plain else object)
