"""Measure a forward pass or kept maps."""

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
from attncli.stream.replay import replay
from attncli.stream.weights import NormShares


def metrics(names: Iterable[str]) -> list[Metric]:
    """Return the metrics of these names."""
    return [registry.module("metrics", name).METRIC for name in names]


def declarations(names: Iterable[str]) -> Mapping[str, Metric]:
    """Return the metrics of these names, by name."""
    return {metric.name: metric for metric in metrics(names)}


def measure_for(request: Request, heads: Selection | None = None) -> Measure:
    """Return the sink that measures the metrics of a request.

    Raise UsageError if all of them have a value per key, which only `per_query` measures.
    """
    requested = metrics(request.metrics)
    if not request.per_query and all(metric.per_key for metric in requested):
        names = ", ".join(metric.name for metric in requested)
        raise UsageError(f"{names} has a value for every key and none for a whole head: add --per-query")
    return Measure(requested, per_query=request.per_query, heads=heads)


def measure_maps(maps: Sequence[Attention], inputs: Sequence[Input], request: Request) -> Statistics:
    """Return statistics of kept maps; a mean over heads or layers is measured like one head or layer."""
    measure = measure_for(request)
    for attention in as_single_heads(maps):
        replay(attention, [NormShares(measure) if attention.by == "norm" else measure])
    by = maps[0].by if maps else "weight"
    return replace(_label_means(measure.result(inputs), maps), by=by)


def as_single_heads(maps: Sequence[Attention]) -> list[Attention]:
    """Return maps in which a mean over heads or layers is head or layer 0; raise UsageError for maps of the maximum."""
    if any(attention.aggregate == "max" for attention in maps):
        raise UsageError(
            "the largest weight over heads is no distribution and cannot be measured: "
            "use --aggregate mean, or measure each head"
        )
    return [replace(attention, layers=tuple(map(_as_single_head, attention.layers))) for attention in maps]


def _as_single_head(layer: LayerMaps) -> LayerMaps:
    number = layer.layer if isinstance(layer.layer, int) else 0
    return replace(layer, layer=number, heads=layer.heads or (0,))


def _label_means(statistics: Statistics, maps: Sequence[Attention]) -> Statistics:
    labels = {}
    if any(attention.aggregate == "mean" for attention in maps):
        labels["head"] = "mean"
    if any(attention.aggregate_layers == "mean" for attention in maps):
        labels["layer"] = "mean"
    if not labels:
        return statistics
    tables: dict[str, Any] = {
        table: {metric: _label_coords(scores, labels) for metric, scores in getattr(statistics, table).items()}
        for table in ("heads", "std", "tokens", "keys")
    }
    return replace(statistics, **tables)


def _label_coords(scores: Scores, labels: Mapping[str, str]) -> Scores:
    coords = dict(scores.coords)
    for coord, label in labels.items():
        dim, entries = coords[coord]
        same_label: Array = np.full(len(entries), label, dtype=object)
        coords[coord] = (dim, same_label)
    return replace(scores, coords=coords)
