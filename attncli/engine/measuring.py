"""Measures of a pass, and of maps that are already there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from attncli import registry
from attncli.data import Array, Attention, Input, LayerMaps, Metric, Scores, Selection, Statistics
from attncli.engine.request import Request
from attncli.errors import UsageError
from attncli.stream import Measure
from attncli.stream.norms import NormShares
from attncli.stream.replay import replay


def metrics(names: Iterable[str]) -> list[Metric]:
    """The metrics of these names."""
    return [registry.module("metrics", name).METRIC for name in names]


def declarations(names: Iterable[str]) -> Mapping[str, Metric]:
    """What these metrics say about themselves."""
    return {metric.name: metric for metric in metrics(names)}


def measure_for(request: Request, heads: Selection | None = None) -> Measure:
    """The sink that measures what was asked for."""
    wanted = metrics(request.metrics)
    if not request.per_query and all(metric.per_key for metric in wanted):
        names = ", ".join(metric.name for metric in wanted)
        raise UsageError(f"{names} has a value for every key and none for a whole head: add --per-query")
    return Measure(wanted, per_query=request.per_query, heads=heads)


def measure_maps(maps: Sequence[Attention], inputs: Sequence[Input], request: Request) -> Statistics:
    """Measure kept maps; a mean over heads or layers is measured as the one head or layer that it stands for."""
    measure = measure_for(request)
    for attention in as_single_heads(maps):
        replay(attention, [NormShares(measure) if attention.by == "norm" else measure])
    by = maps[0].by if maps else "weight"
    return replace(_renamed(measure.result(inputs), maps), by=by)


def as_single_heads(maps: Sequence[Attention]) -> list[Attention]:
    """The same maps, where a mean over heads or layers is head or layer 0; no largest ones, as they are no weights."""
    if any(attention.aggregate == "max" for attention in maps):
        raise UsageError(
            "the largest weight over heads is no distribution that could be measured: "
            "use --aggregate mean, or measure each head"
        )
    return [replace(attention, layers=tuple(map(_as_single, attention.layers))) for attention in maps]


def _as_single(layer: LayerMaps) -> LayerMaps:
    number = layer.layer if isinstance(layer.layer, int) else 0
    return replace(layer, layer=number, heads=layer.heads or (0,))


def _renamed(found: Statistics, maps: Sequence[Attention]) -> Statistics:
    names = {}
    if any(attention.aggregate == "mean" for attention in maps):
        names["head"] = "mean"
    if any(attention.aggregate_layers == "mean" for attention in maps):
        names["layer"] = "mean"
    if not names:
        return found
    tables: dict[str, Any] = {
        table: {metric: _named(scores, names) for metric, scores in getattr(found, table).items()}
        for table in ("heads", "std", "tokens", "keys")
    }
    return replace(found, **tables)


def _named(scores: Scores, names: Mapping[str, str]) -> Scores:
    coords = dict(scores.coords)
    for coord, name in names.items():
        dim, entries = coords[coord]
        renamed: Array = np.full(len(entries), name, dtype=object)
        coords[coord] = (dim, renamed)
    return replace(scores, coords=coords)
