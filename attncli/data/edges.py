"""Single weights out of many maps: which token looks at which, how strongly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from attncli.data.tokens import KINDS, Array, Input, read_only

if TYPE_CHECKING:
    import pandas as pd

_TYPES = {"text": np.int32, "kind": np.int8, "weight": np.float32}


@dataclass(frozen=True, eq=False)
class Edges:
    """The strongest weights, one entry each.

    inputs  the texts, for the tokens
    kind    its number in `KINDS`; text, layer, head, query, key as they are numbered everywhere
    weight  float32, after softmax
    Ordered by text, kind, layer, head and query; of one query the largest first, of equal ones the first key.
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
            entries = read_only(getattr(self, field.name), _TYPES.get(field.name, np.int32))
            object.__setattr__(self, field.name, entries)

    def __len__(self) -> int:
        return len(self.weight)

    @property
    def row_starts(self) -> Array:
        """Where the edges of each query begin."""
        columns = np.stack([self.text, self.kind, self.layer, self.head, self.query])
        changes: Array = (np.diff(columns, axis=1) != 0).any(0)
        return np.flatnonzero(np.concatenate([[True], changes])[: len(self)])

    @property
    def most_per_row(self) -> int:
        """How many edges the query with the most of them has."""
        return int(np.diff([*self.row_starts, len(self)]).max(initial=0))

    @classmethod
    def none(cls, inputs: Sequence[Input]) -> Edges:
        """No edge of these texts."""
        return cls(inputs, *[np.zeros(0)] * (len(fields(cls)) - 1))

    def query_tokens(self) -> tuple[Array, list[str]]:
        """The token that looks: for each edge a number, and the pieces that these numbers count."""
        return self._tokens(0, self.query)

    def key_tokens(self) -> tuple[Array, list[str]]:
        """The same of the token that is looked at."""
        return self._tokens(1, self.key)

    def _tokens(self, side: int, positions: Array) -> tuple[Array, list[str]]:
        there = {one.index: one for one in self.inputs}
        places, which = np.unique(self.text.astype(np.int64) * len(KINDS) + self.kind, return_inverse=True)
        sides = [there[place // len(KINDS)].sides(KINDS[place % len(KINDS)])[side].pieces for place in places.tolist()]
        numbers: dict[str, int] = {}
        counted = [numbers.setdefault(piece, len(numbers)) for pieces in sides for piece in pieces]
        starts = np.cumsum([0, *map(len, sides)])
        return np.array(counted, np.int32)[starts[which] + positions], list(numbers)

    def to_frame(self) -> pd.DataFrame:
        """A long table: text, kind, layer, head, query, key, query_token, key_token, weight."""
        import pandas as pd

        def words(numbers: Array, pieces: Sequence[str]) -> pd.Categorical[str]:
            # objects: pandas' own text cannot hold half surrogates
            return pd.Categorical.from_codes(numbers, pd.Index(np.array(pieces, dtype=object), dtype="object"))

        return pd.DataFrame(
            {
                "text": self.text,
                "kind": words(self.kind, KINDS),
                "layer": self.layer,
                "head": self.head,
                "query": self.query,
                "key": self.key,
                "query_token": words(*self.query_tokens()),
                "key_token": words(*self.key_tokens()),
                "weight": self.weight,
            }
        )


TakeEdges = Callable[[Edges], None]
"""Gets edges chunk by chunk while they are found."""
