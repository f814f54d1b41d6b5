"""Attention between the segments of a text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from attncli.arguments import checks_arguments
from attncli.data.described import Tabulated, counted, listed
from attncli.data.results import Scores, columns_of, frame_of
from attncli.data.segments import GENERATED, REST, SPECIAL
from attncli.data.tokens import KINDS, Array, Kind, RowsAs
from attncli.errors import UsageError, did_you_mean
from attncli.inputs.rows_as import is_written

if TYPE_CHECKING:
    import pandas as pd


@checks_arguments
@dataclass(frozen=True, eq=False, repr=False)
class Segments(Tabulated):
    """Attention from each segment of a text to each other.

    heads   `mass`, `uniform_mass`, `positional_mass`, `ratio` and `excess` with dim `row` (coords kind, layer, head,
            from, to, texts). mass: attention to all keys of a segment, averaged over the rows of another, from 0 to 1;
            uniform_mass and positional_mass: the same under uniform weights over the visible keys, and under the
            head's own mean weight at each offset; ratio: mass / uniform_mass; excess: mass minus the larger of these
            baselines. Over several texts, the mean over those that have both segments. Of segments that are read where
            they are predicted also `retrieval`, its baselines `retrieval_uniform` and `retrieval_positional`, its
            largest possible value `retrieval_most`, and the number of tokens, `written`
    std     population standard deviation of `mass` and `uniform_mass` over texts; empty for one text
    tokens  `mass` and `uniform_mass` with dim `row` (coords text, kind, layer, query, token, to): the same for each
            generated token, averaged over the heads of a layer; empty if none was generated
    rows_as by kind and query segment, which rows stand for its tokens: input or predicted
    Undefined is NaN: a ratio if no token of a segment has a visible key in the other, and position in cross-attention.
    """

    heads: Mapping[str, Scores]
    std: Mapping[str, Scores] = field(default_factory=dict)
    tokens: Mapping[str, Scores] = field(default_factory=dict)
    rows_as: Mapping[tuple[Kind, str], RowsAs] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Scores:
        return self.heads[name]

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The kinds of attention, in the order of the table."""
        return tuple(dict.fromkeys(self.heads["mass"].coords["kind"][1].tolist()))

    def described(self, kind: Kind, name: str) -> str:
        """Return the name of a query segment, with how its rows are read if the model wrote it or if as predicted."""
        rows_as = self.rows_as.get((kind, name), "input")
        return f"{name} (rows as {rows_as})" if rows_as == "predicted" or is_written(name) else name

    def rows_note(self, kind: Kind) -> str:
        """Return the query segments whose rows are read as predicted, for a picture of all; empty if there are none."""
        names = [name for (of_kind, name), rows_as in self.rows_as.items() if (of_kind, rows_as) == (kind, "predicted")]
        listed = f"{', '.join(names[:3])}{', …' if names[3:] else ''}"
        return f"rows of {listed} as predicted" if names else ""

    def select(self, query: str | None, key: str | None) -> Segments:
        """Return the attention from one segment, to one segment, or both, the heads with the largest excess first.

        Raise UsageError with close names if there is no such segment.
        """
        table = self.table()
        chosen = np.ones(len(table["from"]), bool)
        for option, axis, name in (("query", "from", query), ("key", "to", key)):
            if name is not None and name not in table[axis]:
                raise UsageError(f"--{option}: there is no segment '{name}': {did_you_mean(name, {*table[axis]})}")
            chosen &= (table[axis] == name) | (name is None)
        rows = np.flatnonzero(chosen)
        kinds = np.array([KINDS.index(kind) for kind in table["kind"][rows]])
        order = rows[np.lexsort((-table["excess"][rows], kinds))]
        tokens = self.tokens if query in (None, GENERATED) else {}
        if tokens and key is not None:
            tokens = _take(tokens, np.flatnonzero(self.tokens_table()["to"] == key))
        return replace(self, heads=_take(self.heads, order), std=_take(self.std, order), tokens=tokens)

    def strongest(self, kind: Kind, by: str = "excess") -> dict[str, Array]:
        """Return the rows of a kind with the largest excess, or another column, first, as far as it is above 0.

        Of several query segments, those that the model wrote, if there are any. Of several key segments, all but the
        query segment itself, special tokens and the rest. Raise UsageError if there is no such column.
        """
        table = self.table()
        if by not in self.heads:
            raise UsageError(f"unknown by '{by[:60]}': {did_you_mean(by, self.heads)}")
        rows = np.flatnonzero((table["kind"] == kind) & (table[by] > 0))
        for axis, left_out in (("from", _not_written({*table["from"][rows]})), ("to", {SPECIAL, REST})):
            others = rows[[name not in left_out for name in table[axis][rows]]]
            rows = others if len(others) else rows
        others = rows[table["from"][rows] != table["to"][rows]]
        rows = others if len(others) else rows
        order = rows[np.argsort(-table[by][rows], kind="stable")]
        return {name: column[order] for name, column in table.items()}

    def table(self) -> dict[str, Array]:
        """Return a row per head and pair of segments; `_std` columns for several texts."""
        return columns_of(self.heads, self.std)

    def mean_table(self) -> dict[str, Array]:
        """Return the mean over layers and heads, and the head with the highest mass: the columns `MEAN_COLUMNS`."""
        rows = list(self._means())
        return {name: column_of([row[index] for row in rows]) for index, name in enumerate(MEAN_COLUMNS)}

    @property
    def mean_name(self) -> str:
        """What the mean over layers and heads is called: heads may have been combined by weights."""
        weighted = "weighted" in self.heads["mass"].coords["head"][1].tolist()
        return "mean over layers of the weighted mean over heads" if weighted else "mean over layers and heads"

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


def _not_written(names: set[str]) -> set[str]:
    """Return the query segments that the model did not write; if it wrote none, only the special tokens."""
    written = names & {GENERATED} or {name for name in names if is_written(name)}
    return names - written if written else {SPECIAL}


def _take(scores: Mapping[str, Scores], rows: Array) -> dict[str, Scores]:
    """Return these rows of the columns of a table."""
    return {
        name: replace(
            column,
            values=column.values[rows],
            coords={coord: (dim, entries[rows]) for coord, (dim, entries) in column.coords.items()},
        )
        for name, column in scores.items()
    }


def _mean(values: Array) -> float:
    """Return the mean of the defined values, NaN if there are none."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else float("nan")


def column_of(entries: Sequence[object]) -> Array:
    """Return numbers as an array of numbers, everything else as objects."""
    plain = all(isinstance(entry, int | float | np.number) for entry in entries)
    return np.array(entries, dtype=None if plain else object)
