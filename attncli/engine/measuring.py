"""Measure a forward pass or kept maps: metrics, the strongest edges, profiles of whole texts, and vectors."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from attncli import registry
from attncli.data import Attention, EdgesConsumer, Input, LayerMaps, Metric, Scores, Selection, Statistics, Vectors
from attncli.data.selection import format_ranges, layers_of
from attncli.engine.request import Request
from attncli.errors import UsageError
from attncli.stream import KeepVectors, Measure, MeasureProfile, StrongestEdges
from attncli.stream.replay import replay
from attncli.stream.weights import NormShares


def declarations(names: Iterable[str]) -> dict[str, Metric]:
    """Return the metrics of these names, by name."""
    metrics: list[Metric] = [registry.module("metrics", name).METRIC for name in names]
    return {metric.name: metric for metric in metrics}


def measure_for(request: Request, heads: Selection | None = None) -> Measure:
    """Return the sink that measures the metrics of a request; raise UsageError if all of them need `per_query`."""
    requested = list(declarations(request.metrics).values())
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
    """Return statistics in which a mean over heads or layers has the label `mean` instead of the number 0."""
    labels = []
    if any(attention.aggregate == "mean" for attention in maps):
        labels.append("head")
    if any(attention.aggregate_layers == "mean" for attention in maps):
        labels.append("layer")

    def labelled(scores: Scores) -> Scores:
        coords = dict(scores.coords)
        for name in labels:
            dim, entries = coords[name]
            coords[name] = (dim, np.full(len(entries), "mean", object))
        return replace(scores, coords=coords)

    tables: dict[str, Any] = {
        table: {metric: labelled(scores) for metric, scores in getattr(statistics, table).items()}
        for table in ("heads", "std", "tokens", "keys")
    }
    return replace(statistics, **tables)


def extra_sinks(
    request: Request, inputs: Sequence[Input], take: EdgesConsumer | None = None, heads: Selection | None = None
) -> dict[str, Any]:
    """Return the sinks of edges, profile and vectors that a request asks for, by the field of a run that they fill.

    take  function that receives the edges chunk by chunk; None: they stay in memory
    """
    sinks: dict[str, Any] = {}
    if request.edges:
        top_k, min_weight = request.top_k, request.min_weight
        sinks["strongest"] = StrongestEdges(inputs, take, top_k=top_k, min_weight=min_weight, heads=heads)
    if request.profile:
        sinks["whole"] = MeasureProfile(inputs, ends=request.ends, min_rows=request.min_rows, heads=heads)
    if request.neurons:
        sinks["vectors"] = KeepVectors(heads)
    return sinks


def extra_notes(
    request: Request, inputs: Sequence[Input], heads: Selection | None = None, vectors: Sequence[Vectors] = ()
) -> list[str]:
    """Return notes if a text has too few tokens for the options, or if layers have no vectors."""
    notes = []
    fewest = min((min(len(text.source), len(text.target or text.source)) for text in inputs), default=0)
    if request.top_k is not None and request.top_k > fewest:
        notes.append(f"--top-k {request.top_k} is more than the {fewest} tokens of a text: all visible keys are taken")
    if request.profile and request.ends >= fewest:
        notes.append(f"--ends {request.ends} is all of a text of {fewest} tokens, so ends have no value: give less")
    if request.neurons and heads is not None:
        missing = dict.fromkeys(heads.keys() - {(part.kind, part.layer) for part in vectors}, ())
        notes += [
            f"{kind} layers {format_ranges(layers_of(missing, kind))} have no query and key vectors: "
            "their weights are the model's own (attncli info says why)"
            for kind in dict.fromkeys(kind for kind, _ in heads)
            if layers_of(missing, kind)
        ]
    return notes
