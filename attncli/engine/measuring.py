"""Measure a forward pass or kept maps: metrics, the strongest edges, profiles of whole texts, and vectors."""

from collections.abc import Container, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from attncli import registry
from attncli.data import (
    Attention,
    EdgesConsumer,
    Input,
    Kind,
    LayerMaps,
    Metric,
    Rows,
    Scores,
    Selection,
    Statistics,
    Vectors,
)
from attncli.data.head_weights import LayerWeights
from attncli.data.part_states import PartState
from attncli.data.results import STATISTICS_TABLES
from attncli.data.selection import format_ranges, layers_of
from attncli.engine.checks import NO_DISTRIBUTION
from attncli.engine.request import Request
from attncli.errors import UsageError
from attncli.inputs.rows_as import check_rows_as, named_as_predicted
from attncli.stream import KeepVectors, Measure, MeasureProfile, Sink, SinkGroup, StrongestEdges
from attncli.stream.combine import PassCombined
from attncli.stream.replay import replay
from attncli.stream.token_mass import TokenMass
from attncli.stream.weights import NormShares


def declarations(names: Iterable[str]) -> dict[str, Metric]:
    """Return the metrics of these names, by name."""
    metrics: list[Metric] = [registry.module("metrics", name).METRIC for name in names]
    return {metric.name: metric for metric in metrics}


def categories() -> tuple[str, ...]:
    """Return the names of all metrics that are categories: positions, of which no mean and no difference is taken."""
    return tuple(name for name, metric in declarations(registry.names("metrics")).items() if metric.category)


class HeadMeasures:
    """The sink of the metrics of a request and, if it asks for it, of the attention to special tokens by name.

    inputs  the texts that will be streamed, needed for special tokens
    Raise UsageError if all metrics need `per_query`.
    """

    def __init__(self, request: Request, inputs: Sequence[Input], heads: Selection | None = None) -> None:
        requested = list(declarations(request.metrics).values())
        if not request.per_query and all(metric.per_key for metric in requested):
            names = ", ".join(metric.name for metric in requested)
            raise UsageError(f"{names} has a value for every key and none for a whole head: add --per-query")
        self._request, by_tokens = request, request.pool_texts == "tokens"
        self._measure = Measure(requested, per_query=request.per_query, by_tokens=by_tokens, heads=heads)
        self._tokens = TokenMass(inputs, by_tokens=by_tokens, heads=heads) if request.special_tokens else None
        self._sinks: SinkGroup = SinkGroup(self._measure, *([] if self._tokens is None else [self._tokens]))

    def add(self, rows: Rows) -> None:
        self._sinks.add(rows)

    def end_layer(self, kind: Kind, layer: int) -> None:
        self._sinks.end_layer(kind, layer)

    def state(self) -> PartState:
        """Return the sums over texts, without values of single tokens."""
        tokens = {} if self._tokens is None else {"tokens": self._tokens.state()}
        return {"measure": self._measure.state(), **tokens}

    def absorb(self, state: PartState) -> None:
        """Add the texts of a state of the same request."""
        self._measure.absorb(state["measure"])
        if self._tokens is not None:
            self._tokens.absorb(state["tokens"])

    def result(self, inputs: Sequence[Input]) -> Statistics:
        """Return the measures of the texts that were streamed."""
        statistics = replace(self._measure.result(inputs), pool_texts=self._request.pool_texts)
        if self._request.rows_named_as == "predicted":
            named = named_as_predicted(statistics.tokens, inputs)
            statistics = replace(statistics, tokens=named, rows_as="predicted")
        if self._tokens is None:
            return statistics
        means = self._tokens.scores("mean")
        std = self._tokens.scores("std") if statistics.std else {}
        counts = self._tokens.scores("count") if statistics.counts else {}
        return replace(
            statistics,
            heads={**statistics.heads, **means},
            std={**statistics.std, **std},
            counts={**statistics.counts, **counts},
            special=tuple(means),
        )


def measure_maps(maps: Sequence[Attention], inputs: Sequence[Input], request: Request) -> Statistics:
    """Return statistics of kept maps; a mean over heads or layers is measured like one head or layer."""
    if any(attention.aggregate == "max" for attention in maps):
        raise UsageError(NO_DISTRIBUTION)
    measure = HeadMeasures(request, inputs)
    for attention in as_single_heads(maps):
        replay(attention, [NormShares(measure) if attention.by == "norm" else measure])
    heads = next((attention.aggregate for attention in maps if attention.aggregate != "none"), "")
    layers = any(attention.aggregate_layers == "mean" for attention in maps)
    by = maps[0].by if maps else "weight"
    return replace(label_means(measure.result(inputs), heads=heads, layers=layers), by=by)


def as_single_heads(maps: Sequence[Attention]) -> list[Attention]:
    """Return maps in which combined heads or layers are head or layer 0."""
    return [replace(attention, layers=tuple(map(_as_single_head, attention.layers))) for attention in maps]


def _as_single_head(layer: LayerMaps) -> LayerMaps:
    number = layer.layer if isinstance(layer.layer, int) else 0
    return replace(layer, layer=number, heads=layer.heads or (0,))


def label_means(statistics: Statistics, *, heads: str, layers: bool) -> Statistics:
    """Return statistics in which a mean over heads or layers has a label instead of a number.

    heads  how heads are combined, mean or weighted; empty for single heads
    """
    labels = {**({"head": heads} if heads else {}), **({"layer": "mean"} if layers else {})}

    def labelled(scores: Scores) -> Scores:
        coords = dict(scores.coords)
        for name, label in labels.items():
            dim, entries = coords[name]
            coords[name] = (dim, np.full(len(entries), label, object))
        return replace(scores, coords=coords)

    tables: dict[str, Any] = {
        table: {metric: labelled(scores) for metric, scores in getattr(statistics, table).items()}
        for table in STATISTICS_TABLES
    }
    return replace(statistics, **tables)


def edges_sink(
    request: Request, inputs: Sequence[Input], take: EdgesConsumer | None = None, heads: Selection | None = None
) -> StrongestEdges:
    """Return the sink of the strongest edges of a request.

    take  function that receives the edges chunk by chunk; None: they stay in memory
    """
    combined = {"aggregate": request.aggregate, "aggregate_layers": request.aggregate_layers}
    described = {**combined, "rows_as": request.rows_named_as}
    limits: Any = {"top_k": request.top_k, "min_weight": request.min_weight}
    return StrongestEdges(inputs, take, **limits, heads=heads, described=described)


def other_sinks(request: Request, inputs: Sequence[Input], heads: Selection | None = None) -> dict[str, Any]:
    """Return the sinks of profile and vectors that a request asks for, by the field of a run that they fill."""
    sinks: dict[str, Any] = {}
    if request.profile:
        sinks["whole"] = MeasureProfile(inputs, ends=request.ends, min_rows=request.min_rows, heads=heads)
    if request.neurons:
        sinks["vectors"] = KeepVectors(heads)
    return sinks


class PassResults:
    """Everything that a request asks of a forward pass besides maps: statistics, edges, a profile and vectors.

    Combined heads are measured while they stream; a mean over layers is measured on its maps, which must be kept.

    inputs   the texts that will be streamed, without which there are no edges and no profile
    take     function that receives the edges chunk by chunk; None: they stay in memory
    weights  by which heads are combined
    """

    def __init__(
        self,
        request: Request,
        inputs: Sequence[Input],
        heads: Selection,
        take: EdgesConsumer | None = None,
        weights: LayerWeights | None = None,
    ) -> None:
        self._request, self._heads, self._weights = request, heads, weights
        if request.rows_named_as == "predicted" and (request.metrics or request.edges):
            check_rows_as("predicted", {kind for kind, _ in heads}, words=request.words)
        single = None if request.aggregate != "none" else heads
        self._measure = HeadMeasures(request, inputs, single) if request.metrics else None
        self._edges = edges_sink(request, inputs, take, single) if request.edges else None
        self._others = other_sinks(request, inputs, heads)

    @property
    def sinks(self) -> list[Sink]:
        """The sinks that the attention of single heads streams through."""
        measured: list[Sink] = []
        if not self._request.measures_maps:
            measure: Any = self._measure
            if measure is not None and self._request.by == "norm":
                measure = NormShares(measure)
            measured = [sink for sink in (measure, self._edges) if sink is not None]
        if self._request.aggregate != "none":
            how = self._request.aggregate
            measured = [PassCombined(how, self._heads, sink, self._weights) for sink in measured]
        return [*measured, *self._others.values()]

    def state(self) -> PartState:
        """Return the sums of the metrics over texts; the other results are those of single texts."""
        return {} if self._measure is None else self._measure.state()

    def absorb(self, state: PartState) -> None:
        """Add the texts of a state of the same request."""
        if self._measure is not None:
            self._measure.absorb(state)

    def result(self, maps: Sequence[Attention], inputs: Sequence[Input]) -> dict[str, Any]:
        """Return the results by the field of a run, after the pass; `maps` are those of combined layers."""
        request, results = self._request, {name: sink.result() for name, sink in self._others.items()}
        if self._edges is not None:
            for attention in as_single_heads(maps) if request.measures_maps else ():
                replay(attention, [self._edges])
            results["strongest"] = self._edges.result()
        if self._measure is None:
            return results
        if request.measures_maps:
            statistics = measure_maps(maps, inputs, request)
        else:
            heads = "" if request.aggregate == "none" else request.aggregate
            statistics = label_means(self._measure.result(inputs), heads=heads, layers=False)
        return {**results, "statistics": replace(statistics, by=request.by)}


def merged_statistics(request: Request, states: Iterable[PartState]) -> Statistics:
    """Return the statistics of all texts of a request, from the states of `PassResults` of parts of them."""
    results = PassResults(request, (), {})
    for state in states:
        results.absorb(state)
    statistics: Statistics = results.result((), ())["statistics"]
    return statistics


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
        notes += missing_vectors_notes(heads, {(part.kind, part.layer) for part in vectors})
    return notes


def missing_vectors_notes(heads: Selection, layers: Container[tuple[Kind, int]]) -> list[str]:
    """Return notes of the selected layers that have no vectors; `layers` have some."""
    missing = {key: () for key in heads if key not in layers}
    return [
        f"{kind} layers {format_ranges(layers_of(missing, kind))} have no query and key vectors: "
        "their weights are the model's own (attncli info says why)"
        for kind in dict.fromkeys(kind for kind, _ in heads)
        if layers_of(missing, kind)
    ]
