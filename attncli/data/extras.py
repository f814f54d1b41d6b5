"""The extra results of a pass: the strongest edges, the profile of whole texts, and query and key vectors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from attncli.arguments import checks_arguments
from attncli.data.described import Described, Tabulated, counted
from attncli.data.surfaces import token_columns
from attncli.data.tokens import KINDS, Array, Input, Kind, RowsAs, predicts_tokens, read_only
from attncli.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

Column = TypeVar("Column")
_EDGE_DTYPES = {"kind": np.int8, "weight": np.float32}


@checks_arguments
@dataclass(frozen=True, eq=False, repr=False)
class Edges(Tabulated):
    """The strongest attention weights: parallel arrays with one entry per edge.

    inputs  the texts, for the tokens
    kind    index into `kinds`
    text, layer, head, query, key  numbers as used everywhere
    weight  float32, after softmax
    aggregate, aggregate_layers  how heads and layers were combined; then all have one number
    rows_as   predicted: tables name a row by the token that it predicts, and leave out rows whose prediction is not in
              the text; `query` is the position of the row itself

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
    kinds: Sequence[Kind] = KINDS
    aggregate: str = "none"
    aggregate_layers: str = "none"
    rows_as: RowsAs = "input"

    def __post_init__(self) -> None:
        for name in ("text", "kind", "layer", "head", "query", "key", "weight"):
            entries = read_only(getattr(self, name), _EDGE_DTYPES.get(name, np.int32))
            object.__setattr__(self, name, entries)

    def __len__(self) -> int:
        return len(self.weight)

    @property
    def row_starts(self) -> Array:
        """The index of the first edge of each query."""
        columns = np.stack([self.text, self.kind, self.layer, self.head, self.query])
        changes: Array = (np.diff(columns, axis=1) != 0).any(0)
        return np.flatnonzero(np.concatenate([[True], changes])[: len(self)])

    @classmethod
    def empty(
        cls,
        inputs: Sequence[Input],
        aggregate: str = "none",
        aggregate_layers: str = "none",
        rows_as: RowsAs = "input",
    ) -> Edges:
        """Return no edges for these texts; the options are those of `Edges`."""
        none = np.zeros(0)
        return cls(inputs, none, none, none, none, none, none, none, KINDS, aggregate, aggregate_layers, rows_as)

    def _tokens(self, side: int, positions: Array) -> Iterator[tuple[Array, list[str]]]:
        """Yield the text and the piece of the query (side 0) or key of each edge: indices into a list, and the list."""
        inputs = {text.index: text for text in self.inputs}
        codes, code_of_edge = np.unique(self.text.astype(np.int64) * len(self.kinds) + self.kind, return_inverse=True)
        sides = [
            inputs[code // len(self.kinds)].sides(self.kinds[code % len(self.kinds)])[side] for code in codes.tolist()
        ]
        starts, texts_and_pieces = np.cumsum([0, *map(len, sides)]), [token_columns(tokens) for tokens in sides]
        for column in (0, 1):
            numbers: dict[str, int] = {}
            names = (name for of_side in texts_and_pieces for name in of_side[column].tolist())
            name_numbers = [numbers.setdefault(name, len(numbers)) for name in names]
            yield np.array(name_numbers, np.int32)[starts[code_of_edge] + positions], list(numbers)

    def columns(self, categories: Callable[[Array, Sequence[str]], Column]) -> dict[str, Array | Column]:
        """Return the columns of a table; `categories` makes a column of names from indices and the list of names."""
        if self.rows_as == "predicted":
            return self._named_as_predicted().columns(categories)
        names = ("text", "kind", "layer", "head", "query", "key")
        columns: dict[str, Array | Column] = {name: getattr(self, name) for name in names}
        columns["kind"] = categories(self.kind, self.kinds)
        for name, how in (("layer", self.aggregate_layers), ("head", self.aggregate)):
            if how != "none":
                columns[name] = categories(np.zeros(len(self), np.int32), [how])
        for side, positions in (("query", self.query), ("key", self.key)):
            parts = self._tokens(0 if side == "query" else 1, positions)
            for name, part in zip(("token", "piece"), parts, strict=True):
                columns[f"{side}_{name}"] = categories(*part)
        return columns | {"weight": self.weight}

    def _named_as_predicted(self) -> Edges:
        """Return the edges whose rows predict a token of the text; `query` is the position of that token."""
        inputs, query = {text.index: text for text in self.inputs}, self.query.copy()
        for text, kind in set(zip(self.text.tolist(), self.kind.tolist(), strict=True)):
            if predicts_tokens(self.kinds[kind]):
                part = (self.text == text) & (self.kind == kind)
                query[part] = inputs[text].sides(self.kinds[kind])[0].predicted[query[part]]
        kept = query >= 0
        columns = {name: getattr(self, name)[kept] for name in ("text", "kind", "layer", "head", "key", "weight")}
        return replace(self, **columns, query=query[kept], rows_as="input")

    def to_frame(self) -> pd.DataFrame:
        """Return a pandas table: text, kind, layer, head, query, key, tokens and pieces of query and key, weight."""
        import pandas as pd

        def categories(numbers: Array, pieces: Sequence[str]) -> pd.Categorical[str]:
            # dtype object: the text type of pandas cannot hold half surrogates
            return pd.Categorical.from_codes(numbers, pd.Index(np.array(pieces, dtype=object), dtype="object"))

        return pd.DataFrame(self.columns(categories))

    def _lines(self) -> Iterable[str]:
        largest = f", the largest {self.weight.max():.3g}" if len(self) else ""
        yield f"Edges: {counted(len(self), 'weight')} of {counted(len(self.inputs), 'text')}{largest}"


EdgesConsumer = Callable[[Edges], None]
"""A function that receives edges chunk by chunk during the forward pass."""


@checks_arguments
@dataclass(frozen=True, eq=False, repr=False)
class Vectors(Described):
    """The query and key vectors of one layer, for one text and kind of attention: they explain each weight.

    score   s_ij = softcap(scale · q_i · k_j), softcap(x) = c tanh(x / c) if the model caps its scores, else x
    weight  A_ij = exp(s_ij + b_ij - n_i) for visible keys, n_i = ln Σ_j exp(s_ij + b_ij) the normalizer of row i;
            a learned sink adds one term to that sum. b_ij is a position bias (ALiBi, T5) if `bias`, else 0

    heads       head numbers of the model
    key_heads   index into `key` for each head; with grouped-query attention several heads share one
    query       [head, query, dim] float32, after rotary positions and before `scale`
    key         [key head, key, dim] float32, after rotary positions
    normalizer  [head, query] float32, NaN for rows without a visible key
    """

    text: int
    kind: Kind
    layer: int
    heads: tuple[int, ...]
    key_heads: tuple[int, ...]
    scale: float
    softcap: float | None
    bias: bool
    query: Array
    key: Array
    normalizer: Array

    def __post_init__(self) -> None:
        for name in ("query", "key", "normalizer"):
            object.__setattr__(self, name, read_only(getattr(self, name), np.float32))

    def scores(self, head: int) -> Array:
        """Return the scores of one head, [query, key] float64, without bias and mask."""
        if head not in self.heads:
            raise UsageError(f"head {head} does not exist; there are: {', '.join(map(str, self.heads))}")
        index = self.heads.index(head)
        scores: Array = self.scale * (self.query[index].astype(np.float64) @ self.key[self.key_heads[index]].T)
        return scores if self.softcap is None else self.softcap * np.tanh(scores / self.softcap)

    def _lines(self) -> Iterable[str]:
        sides = f"{self.query.shape[1]} queries and {self.key.shape[1]} keys of size {self.query.shape[2]}"
        heads = counted(len(self.heads), "head")
        yield f"Vectors ({self.kind}, text {self.text}, layer {self.layer}): {heads}, {sides}"
