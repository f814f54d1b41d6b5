"""The maps that were kept."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import reduce
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from attncli.data.tokens import Array, By, Kind, Tokens, read_only
from attncli.data.zoom import Pooling, Span, TokenWindow
from attncli.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr


@dataclass(frozen=True, eq=False)
class LayerMaps:
    """The maps of one layer that were kept.

    heads    head numbers as the model counts them; () where heads were aggregated into one map
    weights  [head, query, key] float32
    visible  [1 or head, query, key] bool, None where every key is visible to every row

    Where maps are pooled, rows and columns are cells of several tokens, and a cell is visible if any of its pairs
    is. What is not visible is missing, whatever its weight.
    """

    layer: int | str
    heads: tuple[int, ...]
    weights: Array
    visible: Array | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", read_only(self.weights, np.float32))
        if self.visible is not None:
            object.__setattr__(self, "visible", read_only(self.visible, np.bool_))


@dataclass(frozen=True, eq=False)
class Attention:
    """The maps that were kept of one kind and text: layers in order, with their true layer and head numbers.

    aggregate         what was done to heads: none, mean or max
    aggregate_layers  what was done to layers: none or mean
    words             whether rows and columns are words instead of pieces
    dropped_special   whether special tokens were removed from both axes and rows renormalised
    window            first and last query, first and last key that are shown; None for the whole text
    pool              what a cell is of its visible (query, key) pairs: mean, max, or none where it is one pair
    cell              how many queries and keys share a cell; the last cell of a side may hold fewer
    by                weight, or norm: then all weights are value-weighted norms, whose rows do not sum to 1

    `queries` and `keys` are all tokens that are shown, also where several of them share a cell.
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

    @property
    def sides(self) -> tuple[TokenWindow, TokenWindow]:
        """Which queries and keys of the text are shown, in cells of how many."""
        first = (0, 0) if self.window is None else (self.window[0][0], self.window[1][0])
        counts = len(self.queries), len(self.keys)
        rows, columns = (
            TokenWindow(at, at + count - 1, cell) for at, count, cell in zip(first, counts, self.cell, strict=True)
        )
        return rows, columns

    @property
    def whole(self) -> bool:
        """Whether every token of the text has its own row and column."""
        return self.window is None and self.pool == "none"

    def zoomed(self, sides: tuple[TokenWindow, TokenWindow], pool: Pooling, layers: tuple[LayerMaps, ...]) -> Attention:
        """The same text with `layers` that show only these sides of what is shown now, which is not pooled yet."""
        (rows, keys), cell = sides, (sides[0].cell, sides[1].cell)
        at = [side.first for side in self.sides]
        cut = (rows.tokens, keys.tokens) != (len(self.queries), len(self.keys))
        window = ((at[0] + rows.first, at[0] + rows.last), (at[1] + keys.first, at[1] + keys.last))
        return replace(
            self,
            queries=self.queries.take(np.arange(rows.first, rows.last + 1)) if cut else self.queries,
            keys=self.keys.take(np.arange(keys.first, keys.last + 1)) if cut else self.keys,
            layers=layers,
            window=window if cut or self.window else None,
            pool="none" if cell == (1, 1) else pool,
            cell=cell,
        )

    @property
    def values(self) -> Array:
        """The weights without axes of length one: of one layer and one head `[query, key]`."""
        stacked = self.stack()
        lead = tuple(axis for axis in (0, 1) if stacked.shape[axis] == 1)
        return read_only(np.squeeze(stacked, axis=lead))

    def stack(self) -> Array:
        """`[layer, head, query, key]`; layers with unequal head counts are a `UsageError` (use `sel`)."""
        counts = {maps.weights.shape[0] for maps in self.layers}
        if len(counts) != 1:
            raise UsageError(f"layers differ in their number of heads ({sorted(counts)}): select layers that agree")
        return read_only(np.stack([maps.weights for maps in self.layers]))

    def sel(self, layer: int | None = None, head: int | None = None) -> Attention:
        """The maps of one layer, one head or both; negative numbers count from the end."""
        layers = self.layers if layer is None else (self._layer(layer),)
        if head is not None:
            layers = tuple(_one_head(maps, head) for maps in layers)
        return replace(self, layers=layers)

    def _layer(self, layer: int) -> LayerMaps:
        if layer < 0 and -layer <= len(self.layers):
            return self.layers[layer]
        for maps in self.layers:
            if maps.layer == layer:
                return maps
        known = ", ".join(str(maps.layer) for maps in self.layers)
        raise UsageError(f"layer {layer} does not exist in kind '{self.kind}'; there are: {known}")

    def mean(self, axis: Literal["head", "layer"]) -> Attention:
        """The mean map over heads or over layers."""
        if axis == "head":
            layers = tuple(_mean_heads(maps) for maps in self.layers)
            return replace(self, layers=layers, aggregate="mean")
        stacked = self.stack().mean(axis=0, dtype=np.float64)
        seen = [maps.visible for maps in self.layers if maps.visible is not None]
        visible = reduce(np.logical_or, seen) if len(seen) == len(self.layers) else None
        one = LayerMaps("mean", self.layers[0].heads, stacked, visible)
        return replace(self, layers=(one,), aggregate_layers="mean")

    @property
    def _starts(self) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        """Position and piece of the first token of each row; of each column."""
        found = []
        for tokens, side in zip((self.queries, self.keys), self.sides, strict=True):
            at = np.arange(0, side.tokens, side.cell)
            found.append((side.first + at, np.asarray(tokens.pieces, dtype=object)[at]))
        rows, columns = found
        return rows, columns

    def to_frame(self) -> pd.DataFrame:
        """A long table: kind, layer, head, query, key, query_token, key_token, weight.

        Of a cell of several tokens the first stands in the table.
        """
        import pandas as pd

        (queries, query_tokens), (keys, key_tokens) = self._starts
        parts = []
        for maps in self.layers:
            heads = maps.heads or (self.aggregate,)
            h, q, k = (axis.ravel() for axis in np.indices(maps.weights.shape))
            parts.append(
                pd.DataFrame(
                    {
                        "kind": self.kind,
                        "layer": maps.layer,
                        "head": np.asarray(heads, dtype=object)[h],
                        "query": queries[q],
                        "key": keys[k],
                        "query_token": query_tokens[q],
                        "key_token": key_tokens[k],
                        "weight": maps.weights.ravel(),
                    }
                )
            )
        return pd.concat(parts, ignore_index=True)

    def to_xarray(self) -> xr.DataArray:
        """An `xarray.DataArray` with dims layer, head, query, key (needs `pip install xarray`)."""
        try:
            import xarray as xr
        except ImportError as error:
            raise UsageError("to_xarray needs xarray, which is not installed: pip install xarray") from error
        heads = self.layers[0].heads or (self.aggregate,)
        (queries, query_tokens), (keys, key_tokens) = self._starts
        coords: dict[str, Any] = {
            "layer": [maps.layer for maps in self.layers],
            "head": list(heads),
            "query_token": ("query", list(query_tokens)),
            "key_token": ("key", list(key_tokens)),
        }
        if not self.whole:
            coords |= {"query": queries, "key": keys}
        return xr.DataArray(self.stack(), dims=("layer", "head", "query", "key"), coords=coords, name="weights")


def _one_head(maps: LayerMaps, head: int) -> LayerMaps:
    if not maps.heads:
        raise UsageError(f"layer {maps.layer} keeps one aggregated map, so head {head} cannot be taken from it")
    wanted = maps.heads[head] if head < 0 and -head <= len(maps.heads) else head
    if wanted not in maps.heads:
        known = ", ".join(map(str, maps.heads))
        raise UsageError(f"head {head} does not exist in layer {maps.layer}; there are: {known}")
    at = maps.heads.index(wanted)
    visible = maps.visible
    if visible is not None and visible.shape[0] > 1:
        visible = visible[at : at + 1]
    return LayerMaps(maps.layer, (wanted,), maps.weights[at : at + 1], visible)


def _mean_heads(maps: LayerMaps) -> LayerMaps:
    seen = maps.visible
    visible = None if seen is None else np.logical_or.reduce(seen, axis=0, keepdims=True)
    mean = maps.weights.mean(axis=0, keepdims=True, dtype=np.float64)
    return LayerMaps(maps.layer, (), mean, visible)
