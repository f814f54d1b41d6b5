"""The data in the middle: small frozen types with named axes, always in the order layer, head, query, key.

Inside (capture, sinks, metrics) tensors live on the model's device: `Rows`, `Columns`. At the border and
outward everything is read-only NumPy: `Tokens`, `Attention`, `Scores`, `Statistics`, `RunInfo`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, reduce
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from attncli.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd
    import torch
    import xarray as xr

Kind = Literal["encoder", "decoder", "cross"]
KINDS: tuple[Kind, ...] = ("encoder", "decoder", "cross")
Scheme = Literal["plain", "wordpiece", "bytelevel", "metaspace"]
Array = np.ndarray[Any, Any]


def frozen(array: Any, dtype: Any = None) -> Array:
    """A read-only view of `array` (copied only where the dtype must change)."""
    view = np.asarray(array, dtype=dtype).view()
    view.flags.writeable = False
    return view


# ---------------------------------------------------------------------------------------------- tokens


@dataclass(frozen=True, eq=False)
class Tokens:
    """One side of an attention map: what stands at each position.

    pieces   exact vocabulary pieces (`##ing`, `Ġthe`, `▁the`); never altered, also not for display
    ids      vocabulary ids, -1 where unknown (maps from elsewhere)
    special  which pieces the tokenizer added ([CLS], </s>, …)
    offsets  [token, 2] character offsets into `text`, (-1, -1) where a piece has none
    words    word number of each piece, -1 for none; pieces with the same number are one word
    segments name of the part of the input that each piece belongs to (pair: a, b; chat: role); "" for none
    scheme   how the tokenizer marks words and bytes in pieces; the labeller needs it
    """

    pieces: tuple[str, ...]
    ids: Array
    special: Array
    offsets: Array
    words: Array
    segments: tuple[str, ...]
    text: str = ""
    scheme: Scheme = "plain"

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        set_(self, "ids", frozen(self.ids, np.int64))
        set_(self, "special", frozen(self.special, np.bool_))
        set_(self, "offsets", frozen(self.offsets, np.int64).reshape(-1, 2))
        set_(self, "words", frozen(self.words, np.int64))
        lengths = {len(self.pieces), len(self.ids), len(self.special), len(self.offsets), len(self.words)}
        if lengths != {len(self.segments)}:
            raise UsageError(
                f"the fields of Tokens must have one entry per piece, got lengths {sorted(lengths)}"
            )

    def __len__(self) -> int:
        return len(self.pieces)

    @classmethod
    def plain(cls, pieces: list[str] | tuple[str, ...], text: str = "") -> Tokens:
        """Tokens of which nothing but the labels is known, as for maps from elsewhere; each is a word."""
        n = len(pieces)
        return cls(
            pieces=tuple(pieces),
            ids=np.full(n, -1),
            special=np.zeros(n, bool),
            offsets=np.full((n, 2), -1),
            words=np.arange(n),
            segments=("",) * n,
            text=text,
        )

    def take(self, index: Array | list[int]) -> Tokens:
        """The tokens at these positions, in this order."""
        at = np.asarray(index, dtype=np.int64)
        return replace(
            self,
            pieces=tuple(self.pieces[i] for i in at),
            ids=self.ids[at],
            special=self.special[at],
            offsets=self.offsets[at],
            words=self.words[at],
            segments=tuple(self.segments[i] for i in at),
        )


@dataclass(frozen=True)
class Text:
    """One input as the user gave it: a text, perhaps with a second segment, a target or as chat messages."""

    text: str
    pair: str | None = None
    target: str | None = None
    messages: tuple[Mapping[str, str], ...] = ()


@dataclass(frozen=True, eq=False)
class Input:
    """One input as the model read it.

    source   what an encoder or a decoder-only model reads
    target   what the decoder of an encoder-decoder reads, None for models of one stack
    """

    index: int
    text: Text
    source: Tokens
    target: Tokens | None = None

    def sides(self, kind: Kind) -> tuple[Tokens, Tokens]:
        """The query tokens and key tokens of a kind of attention."""
        if self.target is None:
            return self.source, self.source
        queries = self.source if kind == "encoder" else self.target
        return queries, self.target if kind == "decoder" else self.source


# ---------------------------------------------------------------------------------------------- the stream


@dataclass(frozen=True, eq=False)
class Rows:
    """One block of the stream: some queries x all their keys, for some heads of a layer, of a batch of texts.

    weights         [batch, head, row, key] after softmax, on the model's device, float32 or float64
    visible         bool, broadcastable to weights: the keys that each row may see; False for all padding
    query_positions [batch, row] position of each row in its unpadded text, -1 for padding
    key_positions   [batch, key] the same for keys
    special_keys    [batch, key] which keys are special tokens
    heads           head numbers of the block
    texts           number of the text in each batch entry
    query_lengths   number of real queries in each text, of which the block holds some
    key_lengths     number of real keys in each text

    Weights are finite, and 0 wherever a real row meets a key that it may not see.
    """

    kind: Kind
    layer: int
    heads: tuple[int, ...]
    texts: tuple[int, ...]
    weights: torch.Tensor
    visible: torch.Tensor
    query_positions: torch.Tensor
    key_positions: torch.Tensor
    special_keys: torch.Tensor
    query_lengths: tuple[int, ...]
    key_lengths: tuple[int, ...]

    @cached_property
    def seen(self) -> torch.Tensor:
        """`visible` as [batch, 1 or head, row, key], without a copy."""
        batch, _, row, key = self.weights.shape
        return self.visible.expand(batch, -1, row, key)

    @cached_property
    def visible_count(self) -> torch.Tensor:
        """|S_i|: [batch, 1 or head, row] float64, how many keys each row may see."""
        return self.seen.sum(-1).double()

    @cached_property
    def real(self) -> torch.Tensor:
        """[batch, 1 or head, row] bool: which rows are real query tokens and can see at least one key."""
        return (self.query_positions >= 0)[:, None, :] & (self.visible_count > 0)

    @cached_property
    def _index(self) -> torch.Tensor:
        """[batch, position] where in the block each key is, -1 where it is not; the last stands for none."""
        import torch

        batch, keys = self.key_positions.shape
        none = max(self.key_lengths)
        index = self.key_positions.new_full((batch, none + 1), -1)
        slots = torch.where(self.key_positions < 0, none, self.key_positions)
        index.scatter_(1, slots, torch.arange(keys, device=slots.device).expand(batch, keys))
        index[:, none] = -1
        return index

    def at(self, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The weights on the keys at these positions, and whether such keys exist and are visible.

        positions [batch, row, n] → weights [batch, head, row, n] and bool [batch, 1 or head, row, n]
        """
        import torch

        none = self._index.shape[1] - 1
        inside = torch.where((positions < 0) | (positions > none), none, positions)
        index = self._index.gather(1, inside.flatten(1)).view(inside.shape)[:, None]
        key = index.clamp_min(0)
        visible = self.seen.gather(-1, key.expand(-1, self.seen.shape[1], -1, -1))
        visible = visible & (index >= 0) & self.real[..., None]
        return self.weights.gather(-1, key.expand(-1, self.weights.shape[1], -1, -1)), visible


@dataclass(frozen=True, eq=False)
class Columns:
    """What is left of a layer of a batch after all its rows went by: sums over rows for every key and offset.

    mass          [batch, head, key] float64: Σ_i A_ik over the rows that may see k
    seen          [batch, 1 or head, key] float64: how many real rows may see k
    offset_mass   [batch, head, offset] float64: Σ_i A_i,i+o over the rows for which i+o is visible
    offset_seen   [batch, 1 or head, offset] float64: how many rows that is
    offsets       the offsets o, -8 … 8
    rows          [batch, 1 or head] float64: real rows

    Keys stand at their positions in the unpadded text; no row sees those past the end of a shorter text.
    """

    kind: Kind
    mass: torch.Tensor
    seen: torch.Tensor
    offset_mass: torch.Tensor
    offset_seen: torch.Tensor
    offsets: tuple[int, ...]
    rows: torch.Tensor


Range = tuple[float | None, float | None]


@dataclass(frozen=True)
class Metric:
    """A measure and its declaration.

    scope     row: `Rows` → [batch, head, row]; column: `Columns` → [batch, head]
    per_key   a column measure that keeps its keys: [batch, head, key]
    range     smallest and largest possible value, None where open or dependent on the text
    kinds     the kinds of attention for which it is defined
    neutral   where a diverging colour scale has its middle (1 for a ratio, 0 for a signed offset), else None
    """

    name: str
    compute: Callable[[Any], torch.Tensor]
    scope: Literal["row", "column"]
    unit: str
    range: Range
    source: str
    kinds: tuple[Kind, ...]
    per_key: bool = False
    neutral: float | None = None

    @property
    def question(self) -> str:
        """The first line of the docstring: the question that the metric answers."""
        return self.page.splitlines()[0]

    @property
    def page(self) -> str:
        """The whole docstring, as `attncli explain` prints it."""
        return inspect.getdoc(self.compute) or ""


Selection = Mapping[tuple[Kind, int], tuple[int, ...]]
"""Head numbers by kind and layer; what is not named is not selected."""


# ---------------------------------------------------------------------------------------------- results


@dataclass(frozen=True, eq=False)
class LayerMaps:
    """The maps of one layer that were kept.

    heads    head numbers as the model counts them; () where heads were aggregated into one map
    weights  [head, query, key] float32
    visible  [1 or head, query, key] bool, None where every key is visible to every row
    """

    layer: int | str
    heads: tuple[int, ...]
    weights: Array
    visible: Array | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", frozen(self.weights, np.float32))
        if self.visible is not None:
            object.__setattr__(self, "visible", frozen(self.visible, np.bool_))


@dataclass(frozen=True, eq=False)
class Attention:
    """The maps that were kept of one kind and text: layers in order, with their true layer and head numbers.

    aggregate         what was done to heads: none, mean or max
    aggregate_layers  what was done to layers: none or mean
    words             whether rows and columns are words instead of pieces
    dropped_special   whether special tokens were removed from both axes and rows renormalised
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

    @property
    def values(self) -> Array:
        """The weights without axes of length one: of one layer and one head `[query, key]`."""
        stacked = self.stack()
        lead = tuple(axis for axis in (0, 1) if stacked.shape[axis] == 1)
        return frozen(np.squeeze(stacked, axis=lead))

    def stack(self) -> Array:
        """`[layer, head, query, key]`; layers with unequal head counts are a `UsageError` (use `sel`)."""
        counts = {maps.weights.shape[0] for maps in self.layers}
        if len(counts) != 1:
            raise UsageError(
                f"layers differ in their number of heads ({sorted(counts)}): select layers that agree"
            )
        return frozen(np.stack([maps.weights for maps in self.layers]))

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

    def to_frame(self) -> pd.DataFrame:
        """A long table: kind, layer, head, query, key, query_token, key_token, weight."""
        import pandas as pd

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
                        "query": q,
                        "key": k,
                        "query_token": np.asarray(self.queries.pieces, dtype=object)[q],
                        "key_token": np.asarray(self.keys.pieces, dtype=object)[k],
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
        coords = {
            "layer": [maps.layer for maps in self.layers],
            "head": list(heads),
            "query_token": ("query", list(self.queries.pieces)),
            "key_token": ("key", list(self.keys.pieces)),
        }
        return xr.DataArray(
            self.stack(), dims=("layer", "head", "query", "key"), coords=coords, name="weights"
        )


def _one_head(maps: LayerMaps, head: int) -> LayerMaps:
    if not maps.heads:
        raise UsageError(
            f"layer {maps.layer} keeps one aggregated map, so head {head} cannot be taken from it"
        )
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


@dataclass(frozen=True, eq=False)
class Scores:
    """What a measurement returns: values with named dims and coordinates, and what they mean.

    dims    names of the axes of `values`
    coords  name → (dim, one entry per position along it)
    Undefined is NaN, never a sentinel number.
    """

    metric: str
    values: Array
    dims: tuple[str, ...]
    coords: Mapping[str, tuple[str, Array]]
    unit: str
    range: tuple[float | None, float | None]
    source: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", frozen(self.values, np.float64))

    def sel(self, **where: Any) -> Scores:
        """The part where coordinates have these values: `scores.sel(kind="encoder", layer=3)`."""
        values, coords = self.values, dict(self.coords)
        for name, wanted in where.items():
            if name not in coords:
                raise UsageError(f"unknown coordinate '{name}': known are {', '.join(coords)}")
            dim, entries = coords[name]
            mask = entries == wanted
            values = np.compress(mask, values, axis=self.dims.index(dim))
            coords = {n: (d, e[mask] if d == dim else e) for n, (d, e) in coords.items()}
        return replace(self, values=values, coords=coords)

    def mean(self, axis: str) -> Scores:
        """The mean along a dim, undefined values left out."""
        at = self.dims.index(axis)
        with np.errstate(invalid="ignore"):
            total = np.nansum(self.values, axis=at)
            count = np.sum(~np.isnan(self.values), axis=at)
            values = np.where(count > 0, total / np.maximum(count, 1), np.nan)
        dims = self.dims[:at] + self.dims[at + 1 :]
        return replace(
            self, values=values, dims=dims, coords={n: c for n, c in self.coords.items() if c[0] != axis}
        )

    def to_frame(self) -> pd.DataFrame:
        """A long table: one column per coordinate and one named after the metric."""
        import pandas as pd

        index = np.indices(self.values.shape)
        columns: dict[str, Any] = {
            name: entries[index[self.dims.index(dim)].ravel()] for name, (dim, entries) in self.coords.items()
        }
        columns[self.metric] = self.values.ravel()
        return pd.DataFrame(columns)

    def to_xarray(self) -> xr.DataArray:
        """An `xarray.DataArray` (needs `pip install xarray`)."""
        try:
            import xarray as xr
        except ImportError as error:
            raise UsageError("to_xarray needs xarray, which is not installed: pip install xarray") from error
        return xr.DataArray(self.values, dims=self.dims, coords=dict(self.coords), name=self.metric)


@dataclass(frozen=True, eq=False)
class Statistics:
    """Every metric for every head, over one or many texts.

    heads   metric → Scores with dim `head` (coords kind, layer, head, texts, queries): mean over texts
    std     the same: population standard deviation over texts (empty with one text)
    tokens  metric → Scores with dim `row` (coords text, kind, layer, head, query, token); only on request
    keys    metric → Scores with dim `key` (coords text, kind, layer, head, key, token); only on request
    """

    heads: Mapping[str, Scores]
    std: Mapping[str, Scores] = field(default_factory=dict)
    tokens: Mapping[str, Scores] = field(default_factory=dict)
    keys: Mapping[str, Scores] = field(default_factory=dict)

    def __getitem__(self, metric: str) -> Scores:
        return self.heads[metric]

    def to_frame(self) -> pd.DataFrame:
        """One row per head: kind, layer, head, texts, queries, then each metric (and `<metric>_std`)."""
        return columns_frame(self.heads, self.std)

    def tokens_frame(self) -> pd.DataFrame:
        """One row per text, head and query token."""
        return columns_frame(self.tokens)


def columns_of(scores: Mapping[str, Scores], std: Mapping[str, Scores] | None = None) -> dict[str, Array]:
    """The columns of one table: the shared coordinates, then the metrics, each with its `_std` beside it."""
    if not scores:
        return {}
    first = next(iter(scores.values()))
    table = {name: entries for name, (_, entries) in first.coords.items()}
    for name, score in scores.items():
        table[name] = score.values
        if std and name in std:
            table[f"{name}_std"] = std[name].values
    return table


def columns_frame(scores: Mapping[str, Scores], std: Mapping[str, Scores] | None = None) -> pd.DataFrame:
    """`columns_of` as a pandas table."""
    import pandas as pd

    return pd.DataFrame(columns_of(scores, std))


FORMAT = 1


@dataclass(frozen=True)
class RunInfo:
    """Where a result comes from; it goes into every artefact."""

    model: str
    revision: str | None = None
    cls: str = ""
    architecture: str = ""
    dtype: str = "float32"
    device: str = "cpu"
    capture: str = ""
    tokenizer: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    given: Mapping[str, Any] = field(default_factory=dict)
    resolved: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    seed: int | None = None
    input_sha256: str = ""
    format: int = FORMAT
