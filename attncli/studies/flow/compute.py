"""Rollout and attention flow, computed from the stream of layers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from attncli.data import KINDS, Array, Input, Kind, Rows, Selection
from attncli.data.selection import layers_of
from attncli.engine.execution import Source
from attncli.engine.focus import FocusMatches
from attncli.engine.progress import Advance, Track, untracked
from attncli.errors import UsageError
from attncli.studies.flow.cost import check_cost
from attncli.studies.flow.layer_steps import VARIANTS, GraphBuilder, LayerSteps, VariantMaps
from attncli.studies.flow.maximum_flow import maximum_flows
from attncli.studies.flow.request import FlowRequest, layer_notes, used_layers
from attncli.studies.flow.result import Flow, Graph, Stack
from attncli.studies.flow.rollout import Rollout
from attncli.vocabulary import DRAWN_UP_TO


@dataclass(frozen=True, eq=False)
class FlowPlan:
    """What a source and a request give to compute.

    kinds    kinds of the result
    heads    heads of the layers that are used
    matches  where the focus occurs
    notes    what the reader should know
    """

    request: FlowRequest
    inputs: tuple[Input, ...]
    kinds: tuple[Kind, ...]
    heads: Selection
    matches: FocusMatches
    notes: tuple[str, ...]

    @classmethod
    def of(cls, source: Source, kinds: Sequence[Kind] | None, request: FlowRequest) -> FlowPlan:
        """Return the plan for a source; raise UsageError if it is impossible or takes too much memory or time."""
        heads = used_layers(source.heads, request, source.inputs, source.name)
        available = [kind for kind in KINDS if layers_of(heads, kind)]
        for kind in kinds or ():
            if kind not in available:
                raise UsageError(f"{source.name} has no {kind} attention; it has: {', '.join(available)}")
        shown = tuple(kind for kind in available if kinds is None or kind in kinds)
        matches = request.matches(source.inputs, shown)
        notes = (*layer_notes(heads, request), *matches.notes)
        plan = cls(request, tuple(source.inputs), shown, heads, matches, notes)
        counts = {(text.index, kind): len(plan.rows(text, kind)) for text in source.inputs for kind in shown}
        check_cost(source.inputs, heads, request, counts, source.max_memory)
        return plan

    def rows(self, text: Input, kind: Kind) -> Array:
        """Return the positions of the chosen queries: [row]."""
        return self.request.rows(self.matches, text, kind)


class FlowSink:
    """A sink that combines the heads of each layer and follows attention through the layers."""

    def __init__(self, plan: FlowPlan, source: Source) -> None:
        self.plan, self._source = plan, source
        self._layers = LayerSteps(
            plan.heads,
            self._add_layer,
            aggregate=plan.request.aggregate,
            heads=plan.heads,
            normalize=source.by == "norm",
        )
        self._inputs = {text.index: text for text in plan.inputs}
        self._rollouts: dict[int, list[Rollout]] = {}
        self._graphs: dict[int, list[GraphBuilder]] = {}

    def add(self, rows: Rows) -> None:
        """Add one block of rows."""
        self._layers.add(rows)

    def end_layer(self, kind: Kind, layer: int) -> None:
        """Finish a layer."""
        self._layers.end_layer(kind, layer)

    def _add_layer(self, text: int, kind: Kind, layer: int, maps: VariantMaps) -> None:
        if text not in self._graphs:
            residual, is_rollout = self.plan.request.residual, self.plan.request.method == "rollout"
            count = int(_has_picture(self._inputs[text])) if is_rollout else len(VARIANTS)
            self._rollouts[text] = [Rollout(residual) for _ in VARIANTS if is_rollout]
            self._graphs[text] = [GraphBuilder(residual) for _ in range(count)]
        for rollout, weights in zip(self._rollouts[text], maps, strict=False):
            rollout.add(kind, weights)
        for graph, weights in zip(self._graphs[text], maps, strict=False):
            graph.add(kind, layer, weights)

    def flows(self, track: Track = untracked) -> tuple[Flow, ...]:
        """Return the flows of all texts, by text and kind."""
        if self.plan.request.method == "rollout":
            return tuple(flow for text in self.plan.inputs for flow in self._rollout_flows(text))
        total = sum(len(VARIANTS) * len(self._rows(text, stack)) for text in self.plan.inputs for stack in self._stacks)
        with track("finding flows", total, "tokens") as advance:
            return tuple(flow for text in self.plan.inputs for flow in self._maximum_flows(text, advance))

    def _rollout_flows(self, text: Input) -> Iterator[Flow]:
        for kind in self.plan.kinds:
            rows = self.plan.rows(text, kind)
            if len(rows):
                yield self._flow(text, kind, rows, [rollout.of(kind)[rows] for rollout in self._rollouts[text.index]])

    @property
    def _stacks(self) -> tuple[Stack, ...]:
        kinds = self.plan.kinds
        stacks: tuple[Stack, ...] = ("encoder", "decoder")
        return tuple(stack for stack in stacks if stack in kinds or (stack == "decoder" and "cross" in kinds))

    def _rows(self, text: Input, stack: Stack) -> Array:
        """Return the chosen tokens at the top of a stack; `decoder` and `cross` share them."""
        kind: Kind = stack if stack in self.plan.kinds else "cross"
        return self.plan.rows(text, kind)

    def _maximum_flows(self, text: Input, advance: Advance) -> list[Flow]:
        flows = []
        for stack in self._stacks:
            rows = self._rows(text, stack)
            if not len(rows):
                continue
            graphs = [builder.graph(stack) for builder in self._graphs[text.index]]
            maximums = [maximum_flows(graph, rows, advance) for graph in graphs]
            # the inputs of a graph are those of the encoder, which `cross` leads to, and then those of the decoder
            kinds: tuple[Kind, ...] = ("cross", "decoder") if len(graphs[0].inputs) > 1 else (stack,)
            ends = np.cumsum([len(text.sides(kind)[1]) for kind in kinds])[:-1]
            shares = zip(*(np.split(_shares(maximum), ends, axis=1) for maximum in maximums), strict=True)
            observed = np.split(maximums[0], ends, axis=1)
            flows += [
                self._flow(text, kind, rows, values, maximum)
                for kind, values, maximum in zip(kinds, shares, observed, strict=True)
                if kind in self.plan.kinds
            ]
        return sorted(flows, key=lambda flow: KINDS.index(flow.kind))

    def _graph(self, text: Input, stack: Stack) -> Graph | None:
        """Return the graph of a stack with its tokens, None for long texts."""
        if not _has_picture(text):
            return None
        graph = self._graphs[text.index][0].graph(stack)
        return replace(graph, tokens={name: text.sides(name)[0] for name in graph.inputs})

    def _flow(
        self, text: Input, kind: Kind, rows: Array, values: Sequence[Array], maximum: Array | None = None
    ) -> Flow:
        request = self.plan.request
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
            layers=tuple(layers_of(self.plan.heads, kind)),
            maximum=maximum,
            steps=self._graph(text, "encoder" if kind == "encoder" else "decoder"),
            residual=request.residual,
            aggregate=request.aggregate,
            words=self._source.words,
            dropped_special=self._source.dropped_special,
            by=self._source.by,
        )


def _has_picture(text: Input) -> bool:
    """Return whether a text is short enough for a picture of its layers."""
    return len(text.source) + len(text.target or ()) <= DRAWN_UP_TO


def _shares(flows: Array) -> Array:
    """Return rows scaled to sum to 1, NaN if nothing flows."""
    total = flows.sum(-1, keepdims=True)
    with np.errstate(invalid="ignore"):
        shares: Array = flows / np.where(total == 0, np.nan, total)
    return shares
