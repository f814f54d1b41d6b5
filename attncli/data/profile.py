"""The profile of whole texts: what each key receives, and where attention goes by distance and to the ends."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from attncli.arguments import checks_arguments
from attncli.data.described import Described, counted, listed
from attncli.data.results import Scores, columns_of, frame_of
from attncli.data.surfaces import token_columns
from attncli.data.tokens import Array, Kind, Tokens, read_only
from attncli.vocabulary import SINK_THRESHOLD

if TYPE_CHECKING:
    import pandas as pd

MIN_QUERIES, MIN_SHARE = 5, 0.05
"""Queries that must see a key for a reliable mean: this number, and this share of all."""
_ROUNDING = 1e-9


@checks_arguments
@dataclass(frozen=True, eq=False, repr=False)
class Received(Described):
    """The mean attention that each key of a text receives, in every head of one kind.

    values  [head, key] α_k = Σ_{i: k ∈ S_i} A_ik / |{i: k ∈ S_i}|, NaN if the key is masked for all queries
    seen    [head, key] number of queries that see the key
    rows    [head] number of queries
    layers, heads  [head] layer and head numbers
    least_rows     how many queries must see a key for a reliable mean: a number from 1 up, a share of all queries
                   below 1, or None for 5 % of them, at least 5
    """

    text: int
    kind: Kind
    keys: Tokens
    layers: Array
    heads: Array
    values: Array
    seen: Array
    rows: Array
    least_rows: float | None = None

    def __post_init__(self) -> None:
        for name in ("layers", "heads", "values", "seen", "rows"):
            object.__setattr__(self, name, read_only(getattr(self, name)))

    @property
    def min_rows(self) -> Array:
        """[head] the number of queries that must see a key: as `least_rows` says, or all queries if there are fewer."""
        rows = np.maximum(self.rows, 1)
        if self.least_rows is None:
            least = np.clip(rows * MIN_SHARE, MIN_QUERIES, None)
        else:
            least = rows * self.least_rows if self.least_rows < 1 else np.full(len(rows), self.least_rows)
        # a share of rounding error, as in 0.05 * 60 > 3, must not ask for one more row
        fewest: Array = np.ceil(least.clip(max=rows) - _ROUNDING).astype(np.int32)
        return fewest

    @property
    def reliable(self) -> Array:
        """[head, key] bool: keys that at least `min_rows` queries see."""
        reliable: Array = self.seen >= self.min_rows[:, None]
        return reliable

    def sinks(self, threshold: float = SINK_THRESHOLD) -> Array:
        """Return [head, key] bool: reliable keys that receive at least `threshold`."""
        return self.reliable & (self.values >= threshold)

    def table(self, head: Array, key: Array) -> dict[str, Array]:
        """Return the columns of a table with one row per (head index, key position)."""
        texts, pieces = token_columns(self.keys)
        return {
            "text": np.full(len(head), self.text),
            "kind": np.full(len(head), self.kind, dtype=object),
            "layer": self.layers[head],
            "head": self.heads[head],
            "key": key,
            "token": texts[key],
            "piece": pieces[key],
            "received": self.values[head, key],
            "seen_by": self.seen[head, key],
            "min_rows": self.min_rows[head],
        }

    def _lines(self) -> Iterable[str]:
        keys, heads = counted(len(self.keys), "key"), counted(len(self.heads), "head")
        yield f"Received ({self.kind}, text {self.text}): attention to {keys} in {heads}"


@checks_arguments
@dataclass(frozen=True, eq=False, repr=False)
class Profile(Described):
    """The attention to near, distant, first and last keys of texts.

    received  attention received by each key, for each text and kind
    distance  `mass` and `uniform_mass`, dims head, bin (coords kind, layer, head; from, to): attention to keys at
              distance |i-j| = from … to, and what uniform attention over the visible keys would give; the mean over
              the tokens of a text, then over texts
    ends      `mass` and `uniform_mass`, dims head, end (coords kind, layer, head; end, tokens): attention to the
              first N keys, to near keys (|i-j| < N), to the rest (neither first nor near), and to the last N keys;
              the mean over tokens that see more than N keys, then over texts
    *_std     population standard deviation over texts; empty with one text
    NaN if such a key is not visible to any token.
    """

    received: tuple[Received, ...]
    distance: Mapping[str, Scores]
    ends: Mapping[str, Scores]
    distance_std: Mapping[str, Scores] = field(default_factory=dict)
    ends_std: Mapping[str, Scores] = field(default_factory=dict)

    def received_tables(self, count: int | None = None) -> Iterator[dict[str, Array]]:
        """Yield one table per head: text, kind, layer, head, key, token, piece, received, seen_by, min_rows.

        count  number of keys: those that receive most; None for all keys
        """
        for received in self.received:
            for head in range(len(received.heads)):
                keys = _strongest_keys(received.values[head], len(received.keys) if count is None else count)
                yield received.table(np.full(len(keys), head), keys)

    def sinks_table(self, threshold: float = SINK_THRESHOLD) -> dict[str, Array]:
        """Return the table of sinks: reliable keys that receive at least `threshold`."""
        return _concatenate(received.table(*np.nonzero(received.sinks(threshold))) for received in self.received)

    def distance_table(self) -> dict[str, Array]:
        """Return kind, layer, head, from, to, mass, uniform_mass; with several texts also their `_std`."""
        return _flat_columns(self.distance, self.distance_std)

    def ends_table(self) -> dict[str, Array]:
        """Return kind, layer, head, end, tokens, mass, uniform_mass; with several texts also their `_std`."""
        return _flat_columns(self.ends, self.ends_std)

    def received_frame(self) -> pd.DataFrame:
        """Return the attention received by each key as a pandas table."""
        return frame_of(_concatenate(self.received_tables()))

    def sinks_frame(self, threshold: float = SINK_THRESHOLD) -> pd.DataFrame:
        """Return `sinks_table` as a pandas table."""
        return frame_of(self.sinks_table(threshold))

    def distance_frame(self) -> pd.DataFrame:
        """Return `distance_table` as a pandas table."""
        return frame_of(self.distance_table())

    def ends_frame(self) -> pd.DataFrame:
        """Return `ends_table` as a pandas table."""
        return frame_of(self.ends_table())

    def _lines(self) -> Iterable[str]:
        sinks = len(self.sinks_table().get("key", ()))
        texts = len({received.text for received in self.received})
        kinds = listed(dict.fromkeys(received.kind for received in self.received))
        yield f"Profile of {counted(texts, 'text')}: {kinds}, {counted(sinks, 'sink')}"


def _flat_columns(*mean_and_std: Mapping[str, Scores]) -> dict[str, Array]:
    return columns_of(*({name: score.flat() for name, score in table.items()} for table in mean_and_std))


def _concatenate(tables: Iterable[dict[str, Array]]) -> dict[str, Array]:
    parts = list(tables)
    return {name: np.concatenate([part[name] for part in parts]) for name in (parts[0] if parts else ())}


def _strongest_keys(values: Array, count: int) -> Array:
    """Return the positions of the `count` keys that receive most, in order of position."""
    order = np.argsort(-np.nan_to_num(values, nan=-1.0), kind="stable")
    return np.sort(order[:count])
