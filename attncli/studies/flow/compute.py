"""Rollout and attention flow, computed from the stream of layers."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from attncli.data import KINDS, Array, Input, Kind
from attncli.data.focus import ALL
from attncli.data.selection import layers_of
from attncli.engine.execution import Source
from attncli.engine.focus import FocusRequest, find_in_inputs
from attncli.engine.progress import Advance, Track, untracked
from attncli.errors import UsageError
from attncli.studies.flow.layer_steps import VARIANTS, GraphBuilder, LayerSteps, VariantMaps
from attncli.studies.flow.maximum_flow import maximum_flows
from attncli.studies.flow.request import FlowRequest, check_cost, layer_notes, used_layers
from attncli.studies.flow.result import Flow, Stack
from attncli.studies.flow.rollout import Rollout
from attncli.vocabulary import DRAWN_UP_TO


class FlowSink(LayerSteps):
    """A sink that combines the heads of each layer and follows attention through the layers.

    Raise UsageError if the request is impossible for the source, or takes too much memory or time.

    kinds  kinds of the flows; all that the source has if None
    notes  what the reader should know
    """

    def __init__(self, source: Source, kinds: Sequence[Kind] | None, request: FlowRequest) -> None:
        heads = used_layers(source.heads, request, source.inputs, source.name)
        available = [kind for kind in KINDS if layers_of(heads, kind)]
        for kind in kinds or ():
            if kind not in available:
                raise UsageError(f"{source.name} has no {kind} attention; it has: {', '.join(available)}")
        self._kinds = tuple(kind for kind in available if kinds is None or kind in kinds)
        # without the option a flow begins at the token itself, also that of generated tokens
        focus = self._focus = FocusRequest(request.focus or ALL, rows_as=request.rows_as)
        matches = find_in_inputs(source.inputs, dict.fromkeys(self._kinds, 0), focus)
        self.notes = (*layer_notes(heads, request), *matches.notes)
        self._rows = matches.rows
        check_cost(source.inputs, heads, request, self._rows, source.max_memory)
        # if heads are combined by weights, the stream has combined heads
        how: Literal["mean", "max"] = "max" if request.aggregate == "max" else "mean"
        super().__init__(heads, self._add_layer, aggregate=how, normalize=source.by == "norm")
        self._source, self._request, self._layers = source, request, heads
        self._inputs = {text.index: text for text in source.inputs}
        lengths = {text.index: len(text.source) + len(text.target or ()) for text in source.inputs}
        self._with_picture = {index for index, length in lengths.items() if length <= DRAWN_UP_TO}
        self._rollouts: dict[int, list[Rollout]] = {}
        self._graphs: dict[int, list[GraphBuilder]] = {}

    def _add_layer(self, text: int, kind: Kind, layer: int, maps: VariantMaps) -> None:
        if text not in self._graphs:
            residual, is_rollout = self._request.residual, self._request.method == "rollout"
            count = int(text in self._with_picture) if is_rollout else len(VARIANTS)
            self._rollouts[text] = [Rollout(residual) for _ in VARIANTS if is_rollout]
            self._graphs[text] = [GraphBuilder(residual) for _ in range(count)]
        for rollout, weights in zip(self._rollouts[text], maps, strict=False):
            rollout.add(kind, weights)
        for graph, weights in zip(self._graphs[text], maps, strict=False):
            graph.add(kind, layer, weights)

    def flows(self, track: Track = untracked) -> tuple[Flow, ...]:
        """Return the flows of all texts, by text and kind."""
        if self._request.method == "rollout":
            return tuple(self._rollout_flows())
        # `decoder` and `cross` share the tokens at the top
        tops: dict[Stack, Kind] = {"encoder": "encoder", "decoder": "decoder" if "decoder" in self._kinds else "cross"}
        parts = [
            (text, stack, self._rows[text.index, kind])
            for text in self._inputs.values()
            for stack, kind in tops.items()
            if (text.index, kind) in self._rows
        ]
        with track("finding flows", sum(len(VARIANTS) * len(rows) for *_, rows in parts), "tokens") as advance:
            return tuple(flow for part in parts for flow in self._maximum_flows(*part, advance))

    def _rollout_flows(self) -> Iterator[Flow]:
        for (index, kind), rows in self._rows.items():
            values = [rollout.of(kind)[rows] for rollout in self._rollouts[index]]
            yield self._flow(self._inputs[index], kind, rows, values)

    def _maximum_flows(self, text: Input, stack: Stack, rows: Array, advance: Advance) -> Iterator[Flow]:
        graphs = [builder.graph(stack) for builder in self._graphs[text.index]]
        maximums = [maximum_flows(graph, rows, advance) for graph in graphs]
        # the inputs of a graph are those of the encoder, which `cross` leads to, and then those of the decoder
        kinds: tuple[Kind, ...] = ("cross", "decoder") if len(graphs[0].inputs) > 1 else (stack,)
        ends = np.cumsum([len(text.sides(kind)[1]) for kind in kinds])[:-1]
        shares = zip(*(np.split(_shares(maximum), ends, axis=1) for maximum in maximums), strict=True)
        observed = np.split(maximums[0], ends, axis=1)
        by_kind = dict(zip(kinds, zip(shares, observed, strict=True), strict=True))
        for kind in self._kinds:
            if kind in by_kind:
                yield self._flow(text, kind, rows, *by_kind[kind])

    def _flow(
        self, text: Input, kind: Kind, rows: Array, values: Sequence[Array], maximum: Array | None = None
    ) -> Flow:
        request, source, graph = self._request, self._source, None
        if text.index in self._with_picture:
            graph = self._graphs[text.index][0].graph("encoder" if kind == "encoder" else "decoder")
            graph = replace(graph, tokens={name: text.sides(name)[0] for name in graph.inputs})
        observed, uniform, position = values
        return Flow(
            request.method,
            kind,
            text.index,
            *text.sides(kind),
            rows,
            observed,
            uniform,
            np.full(position.shape, np.nan) if kind == "cross" else position,
            layers=tuple(layers_of(self._layers, kind)),
            maximum=maximum,
            steps=graph,
            residual=request.residual,
            aggregate="weighted" if source.aggregate == "weighted" else request.aggregate,
            words=source.words,
            dropped_special=source.dropped_special,
            by=source.by,
            rows_as=self._focus.reading(text, kind),
        )


def _shares(flows: Array) -> Array:
    """Return rows scaled to sum to 1, NaN if nothing flows."""
    total = flows.sum(-1, keepdims=True)
    shares: Array = flows / np.where(total == 0, np.nan, total)
    return shares
