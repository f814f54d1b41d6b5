"""From the layers of texts, as they stream by or as they were kept, to rollout and attention flow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from attncli.data import KINDS, Array, Attention, By, Input, Kind, Selection
from attncli.data.selection import layers_of
from attncli.engine.focus import FocusMatches
from attncli.engine.progress import Advance, Track, untracked
from attncli.errors import UsageError
from attncli.stream.replay import replay
from attncli.studies.flow.layer_steps import VARIANTS, LayerSteps, Maps, Steps
from attncli.studies.flow.maximum_flow import maximum_flows
from attncli.studies.flow.result import Flow, Graph, Stack
from attncli.studies.flow.rollout import Rollout
from attncli.studies.flow.tracing import DRAWN, Tracing, check_cost, layer_notes, layers_through


@dataclass(frozen=True, eq=False)
class FlowPlan:
    """What is traced: kinds that are shown, heads of the layers gone through, where the focus is, what to say of it."""

    tracing: Tracing
    inputs: tuple[Input, ...]
    kinds: tuple[Kind, ...]
    heads: Selection
    places: FocusMatches
    notes: tuple[str, ...]

    @classmethod
    def of(
        cls,
        inputs: Sequence[Input],
        heads: Selection,
        kinds: Sequence[Kind] | None,
        tracing: Tracing,
        where: str = "this run",
        limit: int | None = None,
    ) -> FlowPlan:
        """Make sure that it can be done, before anything is; `limit`: bytes that may be held."""
        through = layers_through(heads, tracing, inputs, where)
        there = [kind for kind in KINDS if layers_of(through, kind)]
        for kind in kinds or ():
            if kind not in there:
                raise UsageError(f"{where} has no {kind} attention; it has: {', '.join(there)}")
        shown = tuple(kind for kind in there if kinds is None or kind in kinds)
        places = tracing.places(inputs, shown)
        notes = (*layer_notes(through, tracing), *places.notes)
        plan = cls(tracing, tuple(inputs), shown, through, places, notes)
        counts = {(one.index, kind): len(plan.rows(one, kind)) for one in inputs for kind in shown}
        check_cost(inputs, through, tracing, counts, limit)
        return plan

    def rows(self, one: Input, kind: Kind) -> Array:
        """Positions of the queries that are asked for."""
        return self.tracing.rows(self.places, one, kind)


class Tracer:
    """What comes of the layers of some texts; `sink` is to be fed."""

    def __init__(
        self, plan: FlowPlan, *, words: bool = False, dropped_special: bool = False, by: By = "weight"
    ) -> None:
        self._plan, self._words, self._dropped, self._by = plan, words, dropped_special, by
        self.sink = LayerSteps(
            plan.heads, self._take, aggregate=plan.tracing.aggregate, heads=plan.heads, shares=by == "norm"
        )
        self._inputs = {one.index: one for one in plan.inputs}
        self._rollouts: dict[int, list[Rollout]] = {}
        self._steps: dict[int, list[Steps]] = {}

    def _take(self, text: int, kind: Kind, layer: int, maps: Maps) -> None:
        if text not in self._steps:
            residual, rolls = self._plan.tracing.residual, self._plan.tracing.method == "rollout"
            kept = int(_drawn(self._inputs[text])) if rolls else len(VARIANTS)
            self._rollouts[text] = [Rollout(residual) for _ in VARIANTS if rolls]
            self._steps[text] = [Steps(residual) for _ in range(kept)]
        for rollout, map_ in zip(self._rollouts[text], maps, strict=False):
            rollout.add(kind, map_)
        for steps, map_ in zip(self._steps[text], maps, strict=False):
            steps.add(kind, layer, map_)

    def flows(self, track: Track = untracked) -> tuple[Flow, ...]:
        """The flows of all texts, by text and kind."""
        if self._plan.tracing.method == "rollout":
            return tuple(flow for one in self._plan.inputs for flow in self._rolled(one))
        pairs = sum(len(VARIANTS) * len(self._rows(one, stack)) for one in self._plan.inputs for stack in self._stacks)
        with track("finding flows", pairs, "tokens") as advance:
            return tuple(flow for one in self._plan.inputs for flow in self._maximum(one, advance))

    def _rolled(self, one: Input) -> Iterator[Flow]:
        for kind in self._plan.kinds:
            rows = self._plan.rows(one, kind)
            if len(rows):
                yield self._flow(one, kind, rows, [rollout.of(kind)[rows] for rollout in self._rollouts[one.index]])

    @property
    def _stacks(self) -> tuple[Stack, ...]:
        kinds = self._plan.kinds
        stacks: tuple[Stack, ...] = ("encoder", "decoder")
        return tuple(stack for stack in stacks if stack in kinds or (stack == "decoder" and "cross" in kinds))

    def _rows(self, one: Input, stack: Stack) -> Array:
        """The tokens on top of a stack that are asked for; `decoder` and `cross` start from the same."""
        kind: Kind = stack if stack in self._plan.kinds else "cross"
        return self._plan.rows(one, kind)

    def _maximum(self, one: Input, advance: Advance) -> list[Flow]:
        flows = []
        for stack in self._stacks:
            rows = self._rows(one, stack)
            if not len(rows):
                continue
            graphs = [steps.graph(stack) for steps in self._steps[one.index]]
            found = [maximum_flows(graph, rows, advance) for graph in graphs]
            below: tuple[Kind, ...] = ("cross", "decoder") if len(graphs[0].inputs) > 1 else (stack,)
            ends = np.cumsum([len(one.sides(kind)[1]) for kind in below])[:-1]
            parts = zip(*(np.split(_shares(each), ends, axis=1) for each in found), strict=True)
            whole = np.split(found[0], ends, axis=1)
            flows += [
                self._flow(one, kind, rows, part, maximum)
                for kind, part, maximum in zip(below, parts, whole, strict=True)
                if kind in self._plan.kinds
            ]
        return sorted(flows, key=lambda flow: KINDS.index(flow.kind))

    def _graph(self, one: Input, stack: Stack) -> Graph | None:
        """What is drawn of a stack, with its tokens; None of long texts."""
        if not _drawn(one):
            return None
        graph = self._steps[one.index][0].graph(stack)
        return replace(graph, tokens={each: one.sides(each)[0] for each in graph.inputs})

    def _flow(self, one: Input, kind: Kind, rows: Array, values: Sequence[Array], maximum: Array | None = None) -> Flow:
        tracing = self._plan.tracing
        own, uniform, position = values
        return Flow(
            tracing.method,
            kind,
            one.index,
            *one.sides(kind),
            rows,
            own,
            uniform,
            np.full(position.shape, np.nan) if kind == "cross" else position,
            layers=tuple(layers_of(self._plan.heads, kind)),
            maximum=maximum,
            steps=self._graph(one, "encoder" if kind == "encoder" else "decoder"),
            residual=tracing.residual,
            aggregate=tracing.aggregate,
            words=self._words,
            dropped_special=self._dropped,
            by=self._by,
        )


def _drawn(one: Input) -> bool:
    """Whether a text is short enough for a picture of its layers."""
    return len(one.source) + len(one.target or ()) <= DRAWN


def _shares(flows: Array) -> Array:
    """Rows made to sum to 1, NaN where nothing flows."""
    total = flows.sum(-1, keepdims=True)
    with np.errstate(invalid="ignore"):
        shares: Array = flows / np.where(total == 0, np.nan, total)
    return shares


def of_maps(
    maps: Sequence[Attention],
    inputs: Sequence[Input],
    kinds: Sequence[Kind] | None,
    tracing: Tracing,
    track: Track = untracked,
) -> tuple[tuple[Flow, ...], tuple[str, ...]]:
    """The flows of kept maps, and what to say of them."""
    if any(attention.aggregate_layers != "none" for attention in maps):
        raise UsageError(
            "flow goes from layer to layer, these maps are the mean over layers: keep them without --aggregate-layers"
        )
    if combined := {attention.aggregate for attention in maps} - {"none"}:
        tracing = replace(tracing, aggregate=combined.pop())  # type: ignore[arg-type]
    heads = {(each.kind, int(layer.layer)): layer.heads or (0,) for each in maps for layer in each.layers}
    plan = FlowPlan.of(inputs, heads, kinds, tracing)
    marks = maps[0]
    tracer = Tracer(plan, words=marks.words, dropped_special=marks.dropped_special, by=marks.by)
    for attention in maps:
        layers = tuple(replace(layer, heads=layer.heads or (0,)) for layer in attention.layers)
        replay(replace(attention, layers=layers), [tracer.sink])
    return tracer.flows(track), plan.notes
