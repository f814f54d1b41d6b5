"""Attention maps that were kept, as NumPy arrays with named axes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np

from attncli.arguments import checks_arguments
from attncli.data.described import Described, counted
from attncli.data.head_weights import LayerWeights
from attncli.data.labels import first_labels
from attncli.data.layer_maps import LayerMaps, LayerMean, combined_heads, index_of, one_head, without_single_axes
from attncli.data.pair_weights import TokenName, pair_weights
from attncli.data.surfaces import token_columns
from attncli.data.tokens import Array, By, Kind, RowsAs, Tokens, read_only
from attncli.data.xarrays import data_array
from attncli.data.zoom import Combining, Pooling, Span, TokenWindow, combined_name
from attncli.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from numpy.typing import DTypeLike


@checks_arguments
@dataclass(frozen=True, eq=False, repr=False)
class Attention(Described):
    """The kept maps of one kind of attention in one text, with layer and head numbers of the model.

    queries, keys     all shown tokens, even if several share a cell
    aggregate         how heads were combined: none, mean, max or weighted
    aggregate_layers  how layers were combined: none or mean
    words             whether rows and columns are words instead of pieces
    dropped_special   whether special tokens were removed from both axes and rows renormalised
    window            first and last shown query, first and last shown key; None for the whole text
    pool              how the visible (query, key) pairs of a cell were combined: mean, max, or none (one pair per cell)
    cell              number of queries and of keys per cell; the last cell of a side may hold fewer
    rows_as           whether rows are those that predict the queries or their own; None if that was not asked
    by                weight, or norm: then all weights are value-weighted norms, whose rows do not sum to 1
    """

    kind: Kind
    queries: Tokens
    keys: Tokens
    layers: tuple[LayerMaps, ...]
    text: int = 0
    aggregate: str = "none"
    aggregate_layers: str = "none"
    words: bool = False
    dropped_special: bool = False
    window: tuple[Span, Span] | None = None
    pool: Pooling = "none"
    cell: tuple[int, int] = (1, 1)
    by: By = "weight"
    rows_as: RowsAs | None = None

    @property
    def sides(self) -> tuple[TokenWindow, TokenWindow]:
        """The shown queries and the shown keys, as windows of the text."""
        (query, _), (key, _) = self.window or ((0, 0), (0, 0))
        rows = TokenWindow(query, query + len(self.queries) - 1, self.cell[0])
        return rows, TokenWindow(key, key + len(self.keys) - 1, self.cell[1])

    @property
    def whole(self) -> bool:
        """Whether every token of the text has its own row and column: neither cut nor pooled."""
        return self.window is None and self.pool == "none"

    def zoomed(self, sides: tuple[TokenWindow, TokenWindow], pool: Pooling, layers: tuple[LayerMaps, ...]) -> Attention:
        """Return maps of a part (`sides`) of the shown tokens with maps `layers`; `self` must not be pooled."""
        (rows, keys), cell = sides, (sides[0].cell, sides[1].cell)
        cut = (rows.tokens, keys.tokens) != (len(self.queries), len(self.keys))
        query, key = (shown.first for shown in self.sides)
        window = (query + rows.first, query + rows.last), (key + keys.first, key + keys.last)
        return replace(
            self,
            queries=self.queries.take(np.arange(rows.first, rows.last + 1)) if cut else self.queries,
            keys=self.keys.take(np.arange(keys.first, keys.last + 1)) if cut else self.keys,
            layers=layers,
            window=window if cut or self.window else None,
            pool="none" if cell == (1, 1) else pool,
            cell=cell,
        )

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> Array:
        """Return `values` for `np.asarray(attention)`; raise UsageError if layers differ in their number of heads."""
        if copy is False and len(self.layers) > 1:
            raise UsageError("the layers lie in arrays of their own, so joining them copies: use np.asarray(attention)")
        array = np.asarray(self.values, dtype=dtype)
        if copy is False and not np.shares_memory(array, self.layers[0].weights):
            raise UsageError(f"a change to dtype {array.dtype} copies: use np.asarray(attention, dtype)")
        return array.copy() if copy and array.base is not None else array

    @property
    def values(self) -> Array:
        """The weights without layer and head axes of length one, so `[query, key]` for a single map."""
        return read_only(without_single_axes(self.stack()))

    def stack(self) -> Array:
        """Return weights [layer, head, query, key]; raise UsageError if layers differ in their number of heads."""
        counts = {maps.weights.shape[0] for maps in self.layers}
        if len(counts) != 1:
            raise UsageError(f"layers differ in their number of heads ({sorted(counts)}): select layers that agree")
        if len(self.layers) == 1:
            return self.layers[0].weights[None]
        return read_only(np.stack([maps.weights for maps in self.layers]))

    @overload
    def sel(self, layer: int | None = None, head: int | None = None) -> Attention: ...

    @overload
    def sel(
        self, layer: int | None = None, head: int | None = None, *, query: TokenName | None, key: TokenName | None = ...
    ) -> Any: ...

    @overload
    def sel(self, layer: int | None = None, head: int | None = None, *, key: TokenName | None) -> Any: ...

    def sel(
        self,
        layer: int | None = None,
        head: int | None = None,
        *,
        query: TokenName | None = None,
        key: TokenName | None = None,
    ) -> Any:
        """Return the maps of one layer, one head or both, or with `query` or `key` the weights of these tokens.

        layer, head  numbers of the model; negative ones count from the end
        query, key   "it" (all its occurrences), "it#2", 7, -1, "14-21", "[CLS]", a segment such as "generated"

        Weights are the mean over the queries of the sum over the keys: a number for one head, [layer, head] for
        several. With only one of both, they are those of each token of the other side. Maps must be whole.
        """
        layers = self.layers
        if layer is not None:
            numbers = [maps.layer for maps in layers]
            layers = (layers[index_of(layer, numbers, f"layer {layer} does not exist in kind '{self.kind}'")],)
        if head is not None:
            layers = tuple(one_head(maps, head) for maps in layers)
        chosen = replace(self, layers=layers)
        if query is None and key is None:
            return chosen
        if not self.whole:
            raise UsageError("tokens can only be found in full maps, these are pooled or show a part of the text")
        masked = tuple(replace(maps, weights=maps.visible_weights, visible=None) for maps in layers)
        weights = replace(self, layers=masked).stack()
        sides = self.queries, self.keys
        return without_single_axes(pair_weights(weights, self.kind, sides, query, key))[()]

    def mean(self, axis: Literal["head", "layer"]) -> Attention:
        """Return the mean map over heads or over layers; a pair is visible if it is visible in any of the maps.

        A row counts in the maps that have it. Raise UsageError if layers differ in their heads, and for pooled maps
        whose mean is not that of the weights (see `combined_heads`).
        """
        if axis == "head":
            return self.combined_heads("mean")
        if self.pool != "none" and len(self.layers) > 1:
            raise _pooled_already(self, "mean", "layers")
        return self.mean_of_layers(None)

    def mean_of_layers(self, weights: LayerWeights | None) -> Attention:
        """Return the mean map over layers, of combined heads with the weights of the layers."""
        mean = LayerMean(self.layers[0].heads)
        for maps in self.layers:
            mean.add(maps, 1.0 if weights is None else weights.layers[self.kind, int(maps.layer)])
        return replace(self, layers=(mean.finish(),), aggregate_layers="mean")

    def combined_heads(self, how: Combining, weights: LayerWeights | None = None) -> Attention:
        """Return the mean or the largest weight over heads; a pair is visible if it is visible in any of the maps.

        weights  those of the heads, for a weighted mean
        Heads are combined before cells are pooled. Raise UsageError for pooled maps if the other order gives other
        numbers: it does unless the maximum is taken twice, or the mean twice of heads with the same visible pairs.
        """
        if not self.can_combine_heads(how):
            raise _pooled_already(self, how, "heads")
        of_layers = {} if weights is None else weights.heads
        layers = (
            maps.combined.get(how) or combined_heads(maps, how, of_layers.get((self.kind, maps.layer)))  # type: ignore[arg-type]
            for maps in self.layers
        )
        return replace(self, layers=tuple(layers), aggregate=how)

    def can_combine_heads(self, how: Combining) -> bool:
        """Return whether `combined_heads` can combine these maps."""
        if self.pool == "none" or self.pool == how == "max":
            return True
        # heads have different rows only where a row lost its whole mass with the special tokens
        mean_of_means = self.pool == how.replace("weighted", "mean") and not self.dropped_special
        return all(
            len(maps.weights) == 1
            or how in maps.combined
            or (mean_of_means and (maps.visible is None or len(maps.visible) == 1))
            for maps in self.layers
        )

    @property
    def _cell_starts(self) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        """Position, text and piece of the first token of each row, and of each column."""
        rows, columns = (
            (
                np.arange(side.first, side.last + 1, side.cell),
                *(names[:: side.cell] for names in token_columns(tokens)),
            )
            for tokens, side in zip((self.queries, self.keys), self.sides, strict=True)
        )
        return rows, columns

    def to_frame(self) -> pd.DataFrame:
        """Return a pandas table: kind, layer, head, query, key, query_token, query_piece, key_token, key_piece, weight.

        A pooled cell is named by its first query and key.
        """
        import pandas as pd

        (queries, query_tokens, query_pieces), (keys, key_tokens, key_pieces) = self._cell_starts
        parts = []
        for maps in self.layers:
            heads = np.asarray(maps.heads or (self.aggregate,), dtype=object)
            h, q, k = (axis.ravel() for axis in np.indices(maps.weights.shape))
            numbers = {"kind": self.kind, "layer": maps.layer, "head": heads[h], "query": queries[q], "key": keys[k]}
            tokens = {"query_token": query_tokens[q], "query_piece": query_pieces[q]}
            tokens |= {"key_token": key_tokens[k], "key_piece": key_pieces[k]}
            parts.append(pd.DataFrame(numbers | tokens | {"weight": maps.weights.ravel()}))
        return pd.concat(parts, ignore_index=True)

    def to_xarray(self) -> xr.DataArray:
        """Return an `xarray.DataArray` with dims layer, head, query, key; needs `pip install xarray`."""
        (queries, query_tokens, query_pieces), (keys, key_tokens, key_pieces) = self._cell_starts
        coords: dict[str, Any] = {
            "layer": [maps.layer for maps in self.layers],
            "head": list(self.layers[0].heads or (self.aggregate,)),
            "query_token": ("query", list(query_tokens)),
            "query_piece": ("query", list(query_pieces)),
            "key_token": ("key", list(key_tokens)),
            "key_piece": ("key", list(key_pieces)),
        }
        if not self.whole:
            coords |= {"query": queries, "key": keys}
        return data_array(self.stack(), ("layer", "head", "query", "key"), coords, "weights")

    def _lines(self) -> Iterable[str]:
        heads = {len(maps.weights) for maps in self.layers}
        many = "/".join(map(str, sorted(heads)))
        maps = f"{counted(len(self.layers), 'layer')} x {many} head{'' if heads == {1} else 's'}"
        sides = " x ".join(str(len(side)) for side in self.sides)
        states = {
            f"{combined_name(self.aggregate)} of heads": self.aggregate != "none",
            f"{self.aggregate_layers} of layers": self.aggregate_layers != "none",
            f"{self.pool} of cells": self.pool != "none",
            "a part of the text": self.window is not None,
            "words": self.words,
            "without special tokens": self.dropped_special,
            "norms": self.by == "norm",
        }
        more = "".join(f", {name}" for name, holds in states.items() if holds)
        yield f"Attention ({self.kind}, text {self.text}): {maps}, {sides} (query x key){more}"
        yield f"queries: {first_labels(self.queries)}"


def _pooled_already(attention: Attention, how: str, axis: str) -> UsageError:
    option = "--aggregate" if axis == "heads" else "--aggregate-layers"
    given = "weights:FILE" if how == "weighted" else how
    how = combined_name(how)
    return UsageError(
        f"these maps are pooled already (the {attention.pool} of each cell), and the {how} over {axis} is taken before "
        f"that: run the model again with {option} {given}, or keep full maps"
    )
