"""Where attention goes over whole texts: what each key gets, how far heads look, what the ends of a text get."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from attncli.data.results import Scores, columns_of, frame_of
from attncli.data.tokens import Array, Kind, Tokens, read_only

if TYPE_CHECKING:
    import pandas as pd

FEW = 5
SINK = 0.3
"""Above this Gu et al. 2024 call a key a sink."""


@dataclass(frozen=True, eq=False)
class Received:
    """How much attention does each key of a text get, in every head of one kind?

    values  [head, key] α_k = Σ_{i: k ∈ S_i} A_ik / |{i: k ∈ S_i}|, NaN where no query may see the key
    seen    [head, key] how many queries may see the key
    rows    [head] how many queries there are
    layers, heads  [head] their numbers
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
    def enough(self) -> Array:
        """[head, key] bool: keys that at least 5 queries (or all, if fewer) may see; the others rest on little."""
        enough: Array = self.seen >= np.minimum(self.rows, FEW)[:, None]
        return enough & (self.seen > 0)

    def sinks(self, threshold: float = SINK) -> Array:
        """[head, key] bool: keys that get at least this much, of those that enough queries see."""
        with np.errstate(invalid="ignore"):
            found: Array = self.enough & (self.values >= threshold)
        return found

    def table(self, head: Array, key: Array) -> dict[str, Array]:
        """A row for each of these cells."""
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
    """Where does attention go over the whole text?

    received  of each text and kind
    distance  `mass` and `uniform_mass` with dims head, bin (coords kind, layer, head; from, to): the mean over a
              text's tokens of the attention to keys |i-j| = from … to tokens away, and of what attention spread
              evenly over the visible keys would put there; over several texts, the mean of those
    ends      the same with dims head, end (coords …; end, tokens): first, the keys 0 … N-1; near, |i-j| < N, which
              for causal rows is the window of recent keys; rest, neither first nor near; last, the last N keys of
              the text. The mean over the tokens that see more than N keys
    *_std     the population standard deviation over texts (empty with one text)
    NaN where no token sees such a key.
    """

    received: tuple[Received, ...]
    distance: Mapping[str, Scores]
    ends: Mapping[str, Scores]
    distance_std: Mapping[str, Scores] = field(default_factory=dict)
    ends_std: Mapping[str, Scores] = field(default_factory=dict)

    def received_tables(self) -> Iterator[dict[str, Array]]:
        """text, kind, layer, head, key, token, received, seen_by: a table for each head, one after the other."""
        for one in self.received:
            for head in range(len(one.heads)):
                yield one.table(np.full(len(one.keys), head), np.arange(len(one.keys)))

    def sinks_table(self, threshold: float = SINK) -> dict[str, Array]:
        """The keys that get at least this much, of those that at least 5 queries (or all, if fewer) may see."""
        return _joined(one.table(*np.nonzero(one.sinks(threshold))) for one in self.received)

    def distance_table(self) -> dict[str, Array]:
        """kind, layer, head, from, to, mass, uniform_mass, each with its `_std` where there are several texts."""
        return _long(self.distance, self.distance_std)

    def ends_table(self) -> dict[str, Array]:
        """kind, layer, head, end, tokens, mass, uniform_mass, in the same way."""
        return _long(self.ends, self.ends_std)

    def received_frame(self) -> pd.DataFrame:
        """What each key gets as a pandas table."""
        return frame_of(_joined(self.received_tables()))

    def sinks_frame(self, threshold: float = SINK) -> pd.DataFrame:
        """The sinks as a pandas table."""
        return frame_of(self.sinks_table(threshold))

    def distance_frame(self) -> pd.DataFrame:
        """How far heads look as a pandas table."""
        return frame_of(self.distance_table())

    def ends_frame(self) -> pd.DataFrame:
        """What the ends of the text get as a pandas table."""
        return frame_of(self.ends_table())


def _long(scores: Mapping[str, Scores], std: Mapping[str, Scores]) -> dict[str, Array]:
    flat, flat_std = ({name: each.flat() for name, each in table.items()} for table in (scores, std))
    return columns_of(flat, flat_std)


def _joined(tables: Iterable[dict[str, Array]]) -> dict[str, Array]:
    parts = list(tables)
    return {name: np.concatenate([part[name] for part in parts]) for name in (parts[0] if parts else ())}
