"""What was measured, and where it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from attncli.data.tokens import Array, By, read_only
from attncli.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr


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
        object.__setattr__(self, "values", read_only(self.values, np.float64))

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
        return replace(self, values=values, dims=dims, coords={n: c for n, c in self.coords.items() if c[0] != axis})

    def flat(self) -> Scores:
        """The same along one dim `row`, the last of the dims running fastest."""
        index = np.indices(self.values.shape)
        coords = {
            name: ("row", entries[index[self.dims.index(dim)].ravel()]) for name, (dim, entries) in self.coords.items()
        }
        return replace(self, values=self.values.ravel(), dims=("row",), coords=coords)

    def to_frame(self) -> pd.DataFrame:
        """A long table: one column per coordinate and one named after the metric."""
        return columns_frame({self.metric: self.flat()})

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
    by      weight, or norm: then rows are shares of value-weighted norms
    """

    heads: Mapping[str, Scores]
    std: Mapping[str, Scores] = field(default_factory=dict)
    tokens: Mapping[str, Scores] = field(default_factory=dict)
    keys: Mapping[str, Scores] = field(default_factory=dict)
    by: By = "weight"

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


def baseline_table(
    heads: Mapping[str, Scores],
    std: Mapping[str, Scores],
    baselines: Mapping[str, Mapping[str, Scores]],
    more: Mapping[str, Array],
) -> dict[str, Array]:
    """A row per head: what it is called, more of it, then each number with its `_std` and its baselines."""
    plain = columns_of(heads, std)
    table = {name: column for name, column in plain.items() if name.removesuffix("_std") not in heads} | dict(more)
    for name in heads:
        table |= {key: plain[key] for key in (name, f"{name}_std") if key in plain}
        table |= {f"{name}_{by}": found[name].values for by, found in baselines.items()}
    return table


def columns_frame(scores: Mapping[str, Scores], std: Mapping[str, Scores] | None = None) -> pd.DataFrame:
    """`columns_of` as a pandas table."""
    return frame_of(columns_of(scores, std))


def frame_of(columns: Mapping[str, Array]) -> pd.DataFrame:
    """Columns as a pandas table; tokens stay objects, as pandas' own text cannot hold half surrogates."""
    import pandas as pd

    return pd.DataFrame({name: pd.Series(column, dtype=column.dtype) for name, column in columns.items()})


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

    @property
    def title(self) -> str:
        """The model's name for pictures: of a long path the last two parts.

        >>> RunInfo("google-bert/bert-base-uncased").title, RunInfo("/home/me/runs/bert/model").title
        ('google-bert/bert-base-uncased', '…/bert/model')
        """
        parts = self.model.replace("\\", "/").rstrip("/").split("/")
        return self.model if len(parts) < 3 else "/".join(["…", *parts[-2:]])
