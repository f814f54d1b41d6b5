"""Rollout and attention flow from the layers of texts, while they stream by."""

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
from attncli.studies.flow.layer_steps import VARIANTS, LayerSteps, Maps, Steps
from attncli.studies.flow.maximum_flow import maximum_flows
from attncli.studies.flow.request import FlowRequest, layer_notes, used_layers
from attncli.studies.flow.result import Flow, Graph, Stack
from attncli.studies.flow.rollout import Rollout
from attncli.vocabulary import DRAWN_UP_TO


@dataclass(frozen=True, eq=False)
class FlowPlan:
    """What is computed: the kinds that are shown, the heads of the used layers, and where the focus occurs."""

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
        """Return the positions of the queries that are asked for."""
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
            shares=source.by == "norm",
        )
        self._inputs = {text.index: text for text in plan.inputs}
        self._rollouts: dict[int, list[Rollout]] = {}
        self._steps: dict[int, list[Steps]] = {}

    def add(self, rows: Rows) -> None:
        """Add text block of rows."""
        self._layers.add(rows)

    def end_layer(self, kind: Kind, layer: int) -> None:
        """Finish a layer."""
        self._layers.end_layer(kind, layer)

    def _add_layer(self, text: int, kind: Kind, layer: int, maps: Maps) -> None:
        if text not in self._steps:
            residual, rolls = self.plan.request.residual, self.plan.request.method == "rollout"
            kept = int(_drawn(self._inputs[text])) if rolls else len(VARIANTS)
            self._rollouts[text] = [Rollout(residual) for _ in VARIANTS if rolls]
            self._steps[text] = [Steps(residual) for _ in range(kept)]
        for rollout, map_ in zip(self._rollouts[text], maps, strict=False):
            rollout.add(kind, map_)
        for steps, map_ in zip(self._steps[text], maps, strict=False):
            steps.add(kind, layer, map_)

    def flows(self, track: Track = untracked) -> tuple[Flow, ...]:
        """Return the flows of all texts, by text and kind."""
        if self.plan.request.method == "rollout":
            return tuple(flow for text in self.plan.inputs for flow in self._rolled(text))
        pairs = sum(len(VARIANTS) * len(self._rows(text, stack)) for text in self.plan.inputs for stack in self._stacks)
        with track("finding flows", pairs, "tokens") as advance:
            return tuple(flow for text in self.plan.inputs for flow in self._maximum(text, advance))

    def _rolled(self, text: Input) -> Iterator[Flow]:
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
        """Return the tokens at the top of a stack that are asked for; `decoder` and `cross` share them."""
        kind: Kind = stack if stack in self.plan.kinds else "cross"
        return self.plan.rows(text, kind)

    def _maximum(self, text: Input, advance: Advance) -> list[Flow]:
        flows = []
        for stack in self._stacks:
            rows = self._rows(text, stack)
            if not len(rows):
                continue
            graphs = [steps.graph(stack) for steps in self._steps[text.index]]
            maximums = [maximum_flows(graph, rows, advance) for graph in graphs]
            below: tuple[Kind, ...] = ("cross", "decoder") if len(graphs[0].inputs) > 1 else (stack,)
            ends = np.cumsum([len(text.sides(kind)[1]) for kind in below])[:-1]
            parts = zip(*(np.split(_shares(each), ends, axis=1) for each in maximums), strict=True)
            whole = np.split(maximums[0], ends, axis=1)
            flows += [
                self._flow(text, kind, rows, part, maximum)
                for kind, part, maximum in zip(below, parts, whole, strict=True)
                if kind in self.plan.kinds
            ]
        return sorted(flows, key=lambda flow: KINDS.index(flow.kind))

    def _graph(self, text: Input, stack: Stack) -> Graph | None:
        """Return the graph of a stack with its tokens, None for long texts."""
        if not _drawn(text):
            return None
        graph = self._steps[text.index][0].graph(stack)
        return replace(graph, tokens={each: text.sides(each)[0] for each in graph.inputs})

    def _flow(
        self, text: Input, kind: Kind, rows: Array, values: Sequence[Array], maximum: Array | None = None
    ) -> Flow:
        request = self.plan.request
        own, uniform, position = values
        return Flow(
            request.method,
            kind,
            text.index,
            *text.sides(kind),
            rows,
            own,
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


def _drawn(text: Input) -> bool:
    """Return whether a text is short enough for a picture of its layers."""
    return len(text.source) + len(text.target or ()) <= DRAWN_UP_TO


def _shares(flows: Array) -> Array:
    """Return rows scaled to sum to 1, NaN if nothing flows."""
    total = flows.sum(-1, keepdims=True)
    with np.errstate(invalid="ignore"):
        shares: Array = flows / np.where(total == 0, np.nan, total)
    return shares
