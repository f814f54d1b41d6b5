"""The share of each input token in each token at the top, and the graph of layers between them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from attncli.data.described import Tabulated, counted
from attncli.data.results import frame_of
from attncli.data.surfaces import token_columns
from attncli.data.tokens import Array, By, Kind, RowsAs, Tokens, read_only

if TYPE_CHECKING:
    import pandas as pd

FlowMethod = Literal["rollout", "flow"]
Stack = Literal["encoder", "decoder"]
"""Layers on top of each other that process the same tokens."""


@dataclass(frozen=True)
class Level:
    """The tokens of one stack after one of its layers; `name` is that layer, or `input`."""

    stack: Stack
    name: str


@dataclass(frozen=True, eq=False)
class Step:
    """The weights between two levels: [upper token, lower token], zero without a connection."""

    upper: int
    lower: int
    weights: Array

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", read_only(self.weights, np.float64))


@dataclass(frozen=True, eq=False)
class Graph:
    """Levels and the steps between them.

    levels  each level comes after the levels that it reads
    steps   the weights from a token down to all levels sum to at most 1
    tokens  tokens of each stack, if known
    """

    levels: tuple[Level, ...]
    steps: tuple[Step, ...]
    tokens: Mapping[Stack, Tokens] = field(default_factory=dict)

    @property
    def inputs(self) -> Mapping[Stack, int]:
        """Number of the lowest level of each stack, the encoder's first."""
        lowest: dict[Stack, int] = {}
        for number, level in enumerate(self.levels):
            lowest.setdefault(level.stack, number)
        return lowest

    def sizes(self) -> tuple[int, ...]:
        """Return the number of tokens of each level."""
        counts = [0] * len(self.levels)
        for step in self.steps:
            counts[step.upper], counts[step.lower] = step.weights.shape
        return tuple(counts)


@dataclass(frozen=True, eq=False, repr=False)
class Flow(Tabulated):
    """The share of each input token in each token at the top, for one text and kind by one method.

    kind      encoder, decoder: from the input of the same stack; cross: from the source to the target
    rows      [row] positions of the chosen queries, ascending
    values    [row, key] share of the input token, NaN if undefined. A row sums to 1 over all inputs: if a decoder
              reads an encoder, over `decoder` and `cross` together
    uniform   the same if each token attends uniformly to the visible keys
    position  the same if each layer has only its mean weight at each offset; NaN for cross, which has no offsets
    maximum   [row, key] the maximum flow before rows are scaled to sum to 1, None for rollout
    layers    layers that were used
    steps     graph of these layers, None if the text is too long for a picture
    by        weight, or norm: then layers hold shares of value-weighted norms
    rows_as   input: a row is named by its own token; predicted: by the token that it predicts
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
    rows_as: RowsAs = "input"

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", read_only(self.rows, np.int64))
        for name in ("values", "uniform", "position", "maximum"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, read_only(getattr(self, name), np.float64))

    @property
    def named(self) -> Array:
        """[row] the positions of the tokens that name the rows: their own, or those that they predict."""
        return self.queries.predicted[self.rows] if self.rows_as == "predicted" else self.rows

    def columns(self) -> dict[str, Array]:
        """Return the columns of the table, which has a row per query and key."""
        row, key = (indices.ravel() for indices in np.indices(self.values.shape))
        query = self.named[row]
        (query_texts, query_pieces), (key_texts, key_pieces) = map(token_columns, (self.queries, self.keys))
        columns: dict[str, Array] = {
            "text": np.full(len(row), self.text),
            "kind": np.full(len(row), self.kind, dtype=object),
            "query": query,
            "key": key,
            "query_token": query_texts[query],
            "query_piece": query_pieces[query],
            "key_token": key_texts[key],
            "key_piece": key_pieces[key],
            self.method: self.values.ravel(),
            "uniform": self.uniform.ravel(),
            "position": self.position.ravel(),
        }
        if self.maximum is not None:
            columns["maximum"] = self.maximum.ravel()
        return columns

    def to_frame(self) -> pd.DataFrame:
        """Return a long table: text, kind, query, key, their tokens, the value and its baselines."""
        return frame_of(self.columns())

    def _lines(self) -> Iterable[str]:
        shape = f"{len(self.rows)} of {len(self.queries)} queries x {counted(len(self.keys), 'key')}"
        yield f"Flow ({self.method}, {self.kind}, text {self.text}): {shape}, {counted(len(self.layers), 'layer')}"
