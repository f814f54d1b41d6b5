"""Attention profiles of texts: attention received by each key, by distance, and by the ends of the text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from attncli.data.results import Scores, columns_of, frame_of
from attncli.data.tokens import Array, Kind, Tokens, read_only

if TYPE_CHECKING:
    import pandas as pd

MIN_QUERIES = 5
"""Number of queries that must see a key for a reliable mean."""
SINK_THRESHOLD = 0.3
"""Keys that receive more attention than this are sinks (Gu et al. 2024)."""


@dataclass(frozen=True, eq=False)
class Received:
    """The mean attention that each key of a text receives, in every head of one kind.

    values  [head, key] α_k = Σ_{i: k ∈ S_i} A_ik / |{i: k ∈ S_i}|, NaN if the key is masked for all queries
    seen    [head, key] number of queries that see the key
    rows    [head] number of queries
    layers, heads  [head] layer and head numbers
    """

    text: int
    kind: Kind
    keys: Tokens
    layers: Array
    heads: Array
    values: Array
    seen: Array
    rows: Array

    def __post_init__(self) -> None:
        for name in ("layers", "heads", "values", "seen", "rows"):
            object.__setattr__(self, name, read_only(getattr(self, name)))

    @property
    def reliable(self) -> Array:
        """[head, key] bool: keys seen by at least 5 queries, or by all if there are fewer."""
        enough: Array = self.seen >= np.minimum(self.rows, MIN_QUERIES)[:, None]
        return enough & (self.seen > 0)

    def sinks(self, threshold: float = SINK_THRESHOLD) -> Array:
        """Return [head, key] bool: reliable keys that receive at least `threshold`."""
        with np.errstate(invalid="ignore"):
            is_sink: Array = self.reliable & (self.values >= threshold)
        return is_sink

    def table(self, head: Array, key: Array) -> dict[str, Array]:
        """Return the columns of a table with one row per (head index, key position)."""
        pieces = np.array([*self.keys.pieces, None], dtype=object)[:-1]
        return {
            "text": np.full(len(head), self.text),
            "kind": np.full(len(head), self.kind, dtype=object),
            "layer": self.layers[head],
            "head": self.heads[head],
            "key": key,
            "token": pieces[key],
            "received": self.values[head, key],
            "seen_by": self.seen[head, key],
        }


@dataclass(frozen=True, eq=False)
class Profile:
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

    def received_tables(self) -> Iterator[dict[str, Array]]:
        """Yield one table per head: text, kind, layer, head, key, token, received, seen_by."""
        for received in self.received:
            for head in range(len(received.heads)):
                yield received.table(np.full(len(received.keys), head), np.arange(len(received.keys)))

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


def _flat_columns(scores: Mapping[str, Scores], std: Mapping[str, Scores]) -> dict[str, Array]:
    flat, flat_std = ({name: score.flat() for name, score in table.items()} for table in (scores, std))
    return columns_of(flat, flat_std)


def _concatenate(tables: Iterable[dict[str, Array]]) -> dict[str, Array]:
    parts = list(tables)
    return {name: np.concatenate([part[name] for part in parts]) for name in (parts[0] if parts else ())}
