"""Single strong attention weights out of many maps, as edges from query tokens to key tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from attncli.data.tokens import KINDS, Array, Input, read_only

if TYPE_CHECKING:
    import pandas as pd

Column = TypeVar("Column")
_NUMBERS = ("text", "kind", "layer", "head", "query", "key")
_DTYPES = {"kind": np.int8, "weight": np.float32}


@dataclass(frozen=True, eq=False)
class Edges:
    """The strongest attention weights: parallel arrays with one entry per edge.

    inputs  the texts, for the tokens
    kind    index into `KINDS`
    text, layer, head, query, key  numbers as used everywhere
    weight  float32, after softmax

    Sorted by text, kind, layer, head and query; within a query by descending weight, then by key.
    """

    inputs: Sequence[Input]
    text: Array
    kind: Array
    layer: Array
    head: Array
    query: Array
    key: Array
    weight: Array

    def __post_init__(self) -> None:
        for field in fields(self)[1:]:
            entries = read_only(getattr(self, field.name), _DTYPES.get(field.name, np.int32))
            object.__setattr__(self, field.name, entries)

    def __len__(self) -> int:
        return len(self.weight)

    @property
    def row_starts(self) -> Array:
        """The index of the first edge of each query."""
        columns = np.stack([self.text, self.kind, self.layer, self.head, self.query])
        changes: Array = (np.diff(columns, axis=1) != 0).any(0)
        return np.flatnonzero(np.concatenate([[True], changes])[: len(self)])

    @property
    def max_per_row(self) -> int:
        """The largest number of edges of one query."""
        return int(np.diff([*self.row_starts, len(self)]).max(initial=0))

    @classmethod
    def empty(cls, inputs: Sequence[Input]) -> Edges:
        """Return no edges for these texts."""
        return cls(inputs, *[np.zeros(0)] * (len(fields(cls)) - 1))

    def query_tokens(self) -> tuple[Array, list[str]]:
        """Return the query token of each edge as an index into a list of pieces, and that list."""
        return self._tokens(0, self.query)

    def key_tokens(self) -> tuple[Array, list[str]]:
        """Return the key token of each edge as an index into a list of pieces, and that list."""
        return self._tokens(1, self.key)

    def _tokens(self, side: int, positions: Array) -> tuple[Array, list[str]]:
        inputs = {one.index: one for one in self.inputs}
        codes, code_of_edge = np.unique(self.text.astype(np.int64) * len(KINDS) + self.kind, return_inverse=True)
        sides = [inputs[code // len(KINDS)].sides(KINDS[code % len(KINDS)])[side].pieces for code in codes.tolist()]
        numbers: dict[str, int] = {}
        piece_numbers = [numbers.setdefault(piece, len(numbers)) for pieces in sides for piece in pieces]
        starts = np.cumsum([0, *map(len, sides)])
        return np.array(piece_numbers, np.int32)[starts[code_of_edge] + positions], list(numbers)

    def columns(self, categories: Callable[[Array, Sequence[str]], Column]) -> dict[str, Array | Column]:
        """Return the columns of a table of edges.

        categories  makes a column of names from an index for each edge and the list of names
        """
        numbers: dict[str, Array | Column] = {name: getattr(self, name) for name in _NUMBERS}
        tokens = {"query_token": categories(*self.query_tokens()), "key_token": categories(*self.key_tokens())}
        return {**numbers, "kind": categories(self.kind, KINDS), **tokens, "weight": self.weight}

    def to_frame(self) -> pd.DataFrame:
        """Return a pandas table: text, kind, layer, head, query, key, query_token, key_token, weight."""
        import pandas as pd

        def categories(numbers: Array, pieces: Sequence[str]) -> pd.Categorical[str]:
            # dtype object: the text type of pandas cannot hold half surrogates
            return pd.Categorical.from_codes(numbers, pd.Index(np.array(pieces, dtype=object), dtype="object"))

        return pd.DataFrame(self.columns(categories))


EdgesConsumer = Callable[[Edges], None]
"""A function that receives edges chunk by chunk during the forward pass."""
