"""Scores of metrics, and tables made of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from attncli.arguments import checks_arguments
from attncli.data.described import Tabulated, counted, listed
from attncli.data.layer_table import layer_table
from attncli.data.measuring import Measuring
from attncli.data.tokens import Array, By, RowsAs, read_only
from attncli.data.xarrays import data_array
from attncli.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

_HEAD_COORDS = ("kind", "layer", "head", "texts", "queries")
NOISE = 1e-6
"""Numbers below it are rounding errors of float32 weights: tables for people and CSV files show 0 instead."""
STATISTICS_TABLES = ("heads", "std", "share", "counts", "tokens", "keys")
"""The fields of `Statistics` that hold scores by metric."""


@checks_arguments
@dataclass(frozen=True, eq=False, repr=False)
class Scores(Tabulated):
    """The values of one metric, with named dims and coordinates.

    values  float64, NaN if undefined
    dims    names of the axes of `values`
    coords  name → (dim, one entry per position along that dim)
    """

    metric: str
    values: Array
    dims: tuple[str, ...]
    coords: Mapping[str, tuple[str, Array]]
    unit: str
    range: tuple[float | None, float | None]
    source: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", read_only(self.values, np.float64))

    def sel(self, **where: object) -> Scores:
        """Return the scores whose coordinates have these values: `scores.sel(kind="encoder", layer=3)`."""
        values, coords = self.values, dict(self.coords)
        for name, value in where.items():
            if name not in coords:
                raise UsageError(f"unknown coordinate '{name}': known are {', '.join(coords)}")
            dim, entries = coords[name]
            if np.ndim(value):  # type: ignore[arg-type]
                raise UsageError(f"expected one value of {name}, got {type(value).__name__}")
            mask = entries == value
            values = np.compress(mask, values, axis=self.dims.index(dim))
            coords = {n: (d, e[mask] if d == dim else e) for n, (d, e) in coords.items()}
        return replace(self, values=values, coords=coords)

    def mean(self, axis: str) -> Scores:
        """Return the mean along the dim `axis`, without undefined values."""
        if axis not in self.dims:
            raise UsageError(f"there is no dim '{axis:.60}': {did_you_mean(axis, self.dims)}")
        index = self.dims.index(axis)
        count = np.sum(~np.isnan(self.values), axis=index)
        values = np.where(count > 0, np.nansum(self.values, axis=index) / np.maximum(count, 1), np.nan)
        dims = self.dims[:index] + self.dims[index + 1 :]
        return replace(self, values=values, dims=dims, coords={n: c for n, c in self.coords.items() if c[0] != axis})

    def flat(self) -> Scores:
        """Return the scores along one dim `row`; the last dim varies fastest."""
        index = np.indices(self.values.shape)
        coords = {
            name: ("row", entries[index[self.dims.index(dim)].ravel()]) for name, (dim, entries) in self.coords.items()
        }
        return replace(self, values=self.values.ravel(), dims=("row",), coords=coords)

    def to_frame(self) -> pd.DataFrame:
        """Return a pandas table: one column per coordinate, and one named after the metric."""
        return frame_of(columns_of({self.metric: self.flat()}))

    def to_xarray(self) -> xr.DataArray:
        """Return an `xarray.DataArray`; needs `pip install xarray`."""
        return data_array(self.values, self.dims, dict(self.coords), self.metric)

    def _lines(self) -> Iterable[str]:
        defined = self.values[~np.isnan(self.values)]
        extent = f"{defined.min():.3g} to {defined.max():.3g}" if len(defined) else "all undefined"
        sizes = ", ".join(f"{dim} {size}" for dim, size in zip(self.dims, self.values.shape, strict=True))
        yield f"Scores of {self.metric}{f' ({self.unit})' if self.unit else ''}: {sizes}; {extent}"


@checks_arguments
@dataclass(frozen=True, eq=False, repr=False)
class Statistics(Tabulated):
    """The scores of all metrics for all heads, over one or many texts.

    heads   metric → mean over texts; dim `head` (coords kind, layer, head, texts, queries)
    std     metric → population standard deviation over texts, same dim; empty with one text
    share   metric → for positions and other categories, of which `heads` has the most frequent value instead of the
            mean, the share of the texts with this value; empty with one text
    tokens  metric → score of each query; dim `row` (coords text, kind, layer, head, query, token); only on request
    keys    metric → score of each key; dim `key` (coords text, kind, layer, head, key, token); only on request
    by      weight, or norm: then metrics measure the shares of value-weighted norms
    counts      metric → number of rows that have a value, same dim; only if `pool_texts` is tokens
    pool_texts  texts: each text counts once in a mean over texts; tokens: as many times as it has rows with a value
    rows_as     input: rows of `tokens` are named by their own token; predicted: by the token that they predict
    special     names of the entries of `heads` that are the attention to special tokens by name, such as `[CLS]_mass`,
                and to punctuation; None if this was not measured
    """

    heads: Mapping[str, Scores]
    std: Mapping[str, Scores] = field(default_factory=dict)
    tokens: Mapping[str, Scores] = field(default_factory=dict)
    keys: Mapping[str, Scores] = field(default_factory=dict)
    by: By = "weight"
    counts: Mapping[str, Scores] = field(default_factory=dict)
    pool_texts: Literal["texts", "tokens"] = "texts"
    special: tuple[str, ...] | None = None
    rows_as: RowsAs = "input"
    share: Mapping[str, Scores] = field(default_factory=dict)

    def __getitem__(self, metric: str) -> Scores:
        return self.heads[metric]

    @property
    def how(self) -> Measuring:
        """How these statistics were measured."""
        per_query = bool(self.tokens or self.keys)
        return Measuring(per_query, self.rows_as, self.pool_texts, self.special is not None)

    def has(self, metrics: Iterable[str], how: Measuring) -> bool:
        """Return whether all these metrics were measured in this way."""
        mine = self.how
        enough = not how.per_query or (mine.per_query and mine.rows_as == how.rows_as)
        enough = enough and mine.pool_texts == how.pool_texts and (mine.special_tokens or not how.special_tokens)
        return enough and set(metrics) <= {*self.heads, *self.keys}

    def select(self, metrics: Sequence[str], special_tokens: bool = False) -> Statistics:
        """Return the scores of these metrics, in this order, and those of special tokens by name if wanted."""
        special = self.special if special_tokens else None

        def selected(scores: Mapping[str, Scores]) -> dict[str, Scores]:
            return {name: scores[name] for name in (*metrics, *(special or ())) if name in scores}

        tables: dict[str, Any] = {name: selected(getattr(self, name)) for name in STATISTICS_TABLES}
        return replace(self, **tables, special=special)

    def table(self) -> dict[str, Array]:
        """Return the columns of the table of heads, as `to_frame`."""
        return columns_of(self.heads, self.std, self.share, self.counts)

    def to_frame(self) -> pd.DataFrame:
        """Return a pandas table of heads: kind, layer, head, texts, queries, each metric.

        With several texts, `<metric>_std` follows, or `<metric>_share` of a category; `<metric>_count` if measured.
        """
        return frame_of(self.table())

    def layers_table(self) -> dict[str, Array]:
        """Return the table of layers: kind, layer, heads, texts, queries, each metric summed up by `layer_table`."""
        columns = columns_of(self.heads)
        return layer_table({name: columns.pop(name) for name in _HEAD_COORDS}, columns) if columns else {}

    def layers_frame(self) -> pd.DataFrame:
        """Return `layers_table` as a pandas table."""
        return frame_of(self.layers_table())

    def tokens_frame(self) -> pd.DataFrame:
        """Return a pandas table, one row per text, head and query token."""
        return frame_of(columns_of(self.tokens))

    def _lines(self) -> Iterable[str]:
        scores = next(iter(self.heads.values()), None)
        heads = 0 if scores is None else len(scores.values)
        texts = 0 if scores is None or not heads else int(scores.coords["texts"][1].max())
        of = f"{counted(heads, 'head')} over {counted(texts, 'text')}"
        yield f"Statistics of {of}: {counted(len(self.heads), 'metric')}"
        yield listed(self.heads)


def columns_of(
    scores: Mapping[str, Scores],
    std: Mapping[str, Scores] | None = None,
    share: Mapping[str, Scores] | None = None,
    count: Mapping[str, Scores] | None = None,
) -> dict[str, Array]:
    """Return the columns of one table: shared coordinates, then each metric and its `_std`, `_share` and `_count`."""
    if not scores:
        return {}
    table = {name: entries for name, (_, entries) in next(iter(scores.values())).coords.items()}
    for name, score in scores.items():
        table[name] = score.values
        for suffix, more in (("std", std), ("share", share)):
            if more and name in more:
                table[f"{name}_{suffix}"] = more[name].values
        if count and name in count:
            table[f"{name}_count"] = count[name].values.astype(np.int64)
    return table


def baseline_table(
    heads: Mapping[str, Scores],
    std: Mapping[str, Scores],
    baselines: Mapping[str, Mapping[str, Scores]],
    more: Mapping[str, Array],
    share: Mapping[str, Scores] | None = None,
) -> dict[str, Array]:
    """Return the columns of a table of heads: coordinates, `more`, then each metric.

    Each metric is followed by its `_std` (or `_share`) and its baselines.
    """
    columns, coords = columns_of(heads, std, share), next(iter(heads.values())).coords
    table = {name: columns[name] for name in coords} | dict(more)
    for name in heads:
        table |= {key: columns[key] for key in (name, f"{name}_std", f"{name}_share") if key in columns}
        table |= {f"{name}_{baseline}": scores[name].values for baseline, scores in baselines.items()}
    return table


def without_noise(values: Array) -> Array:
    """Return numbers with 0 for those that are smaller than `NOISE` in magnitude.

    >>> without_noise(np.array([0.25, -3e-9, np.nan])).tolist()
    [0.25, 0.0, nan]
    """
    return np.where(np.abs(values) < NOISE, 0.0, values)


def frame_of(columns: Mapping[str, Array]) -> pd.DataFrame:
    """Return columns as a pandas table."""
    import pandas as pd

    # the dtype stays object for tokens: the text type of pandas cannot hold half surrogates
    return pd.DataFrame({name: pd.Series(column, dtype=column.dtype) for name, column in columns.items()})
