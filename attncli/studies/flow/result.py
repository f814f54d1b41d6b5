"""How much of each input token arrives in each token at the top, and the steps from layer to layer on the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from attncli.data.results import frame_of
from attncli.data.tokens import Array, By, Kind, Tokens, read_only

if TYPE_CHECKING:
    import pandas as pd

FlowMethod = Literal["rollout", "flow"]
Stack = Literal["encoder", "decoder"]
"""Layers on top of each other that are of the same tokens."""


@dataclass(frozen=True)
class Level:
    """The tokens of one stack between two of its layers; `name` is the layer below, or `input`."""

    stack: Stack
    name: str


@dataclass(frozen=True, eq=False)
class Step:
    """From one level down to another: weights [upper token, lower token], zero where nothing goes."""

    upper: int
    lower: int
    weights: Array

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", read_only(self.weights, np.float64))


@dataclass(frozen=True, eq=False)
class Graph:
    """Levels, of which each comes after those that it is made of, and the steps between them.

    What leaves a token downwards is at most 1 in all. `tokens` are those of each stack, where they are known.
    """

    levels: tuple[Level, ...]
    steps: tuple[Step, ...]
    tokens: Mapping[Stack, Tokens] = field(default_factory=dict)

    @property
    def inputs(self) -> Mapping[Stack, int]:
        """The lowest level of each stack, the encoder's first."""
        lowest = {level.stack: at for at, level in reversed(list(enumerate(self.levels)))}
        return dict(sorted(lowest.items(), key=lambda place: place[1]))

    def sizes(self) -> tuple[int, ...]:
        """How many tokens each level has."""
        counts = [0] * len(self.levels)
        for step in self.steps:
            counts[step.upper], counts[step.lower] = step.weights.shape
        return tuple(counts)


@dataclass(frozen=True, eq=False)
class Flow:
    """How much of each input token arrives in each token at the top: of one text, one kind, by one method.

    kind      encoder, decoder: from its own stack's input; cross: from the source to the target
    rows      [row] positions of the queries that were asked for, ascending
    values    [row, key] share of the input token, NaN where undefined. A row sums to 1 over all inputs: where a
              decoder reads an encoder, over `decoder` and `cross` together
    uniform   the same if each token looked evenly at what it may see, and
    position  if each layer were its own mean map by distance; NaN for cross, where i and j count different texts
    maximum   [row, key] the maximum flow before rows are made to sum to 1, None for rollout
    layers    the layers that were gone through
    steps     the graph of these layers, None where the text is too long to draw it
    by        weight, or norm: then layers are of shares of value-weighted norms
    """

    method: FlowMethod
    kind: Kind
    text: int
    queries: Tokens
    keys: Tokens
    rows: Array
    values: Array
    uniform: Array
    position: Array
    layers: tuple[int, ...]
    maximum: Array | None = None
    steps: Graph | None = None
    residual: bool = True
    aggregate: str = "mean"
    words: bool = False
    dropped_special: bool = False
    by: By = "weight"

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", read_only(self.rows, np.int64))
        for name in ("values", "uniform", "position", "maximum"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, read_only(getattr(self, name), np.float64))

    def columns(self) -> dict[str, Array]:
        """The columns of the table: a row per query and key."""
        row, key = (at.ravel() for at in np.indices(self.values.shape))
        query = self.rows[row]
        pieces = (np.asarray(tokens.pieces, dtype=object) for tokens in (self.queries, self.keys))
        query_pieces, key_pieces = pieces
        columns: dict[str, Array] = {
            "text": np.full(len(row), self.text),
            "kind": np.full(len(row), self.kind, dtype=object),
            "query": query,
            "key": key,
            "query_token": query_pieces[query],
            "key_token": key_pieces[key],
            self.method: self.values.ravel(),
            "uniform": self.uniform.ravel(),
            "position": self.position.ravel(),
        }
        if self.maximum is not None:
            columns["maximum"] = self.maximum.ravel()
        return columns

    def to_frame(self) -> pd.DataFrame:
        """A long table: text, kind, query, key, their tokens, the value and its baselines."""
        return frame_of(self.columns())
