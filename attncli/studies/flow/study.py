"""The study `flow`: rollout and attention flow through the layers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

from attncli.engine.checks import check_share
from attncli.engine.costs import layer_work, longest, note_cost
from attncli.engine.report import Report
from attncli.engine.study import Study
from attncli.errors import UsageError
from attncli.options import SelectionOptions
from attncli.studies.flow.options import FlowOptions
from attncli.vocabulary import DRAWN_UP_TO

if TYPE_CHECKING:  # the help of the command line needs no NumPy
    from rich.table import Table

    from attncli.data import Attention
    from attncli.engine.collected import Collected
    from attncli.engine.execution import Execution
    from attncli.engine.passes import Pass
    from attncli.engine.request import Request, RunOptions
    from attncli.studies.flow.request import FlowRequest
    from attncli.studies.flow.result import Flow


@dataclass(frozen=True)
class FlowStudy(Study["Sequence[Flow]"]):
    """The share of each input token in each token at the top, with two baselines.

    aggregate  how the heads of a layer are combined: mean, max, or weights as in `RunOptions`
    """

    options: FlowOptions = field(default_factory=FlowOptions)
    aggregate: Any = "mean"
    name = "flow"
    group = FlowOptions

    def adapt(self, selection: SelectionOptions, from_saved_run: bool) -> Self:
        """Return the study that combines heads as selected; raise UsageError if layers are to be combined."""
        if selection.aggregate_layers != "none":
            raise UsageError("flow goes from layer to layer: leave out --aggregate-layers")
        return replace(self, aggregate="mean" if selection.aggregate == "none" else selection.aggregate)

    @property
    def request(self) -> FlowRequest:
        """The checked options; UsageError if one is wrong."""
        from attncli.studies.flow.request import FlowRequest

        options: Any = self.options
        names = ("method", "focus", "residual", "start_layer", "rows_as")
        return FlowRequest(**{name: getattr(options, name) for name in names}, aggregate=self._how)

    @property
    def _how(self) -> Any:
        from attncli.inputs.importance_file import is_weights

        return "weighted" if is_weights(self.aggregate) else self.aggregate

    def run_options(self) -> RunOptions:
        by: Any = self.options.by
        return {"aggregate": self.aggregate if self._how == "weighted" else "none", "by": by}

    def resolved(self) -> dict[str, Any]:
        """Return the options but `by`, which belongs to the forward pass."""
        names = ("method", "focus", "residual", "start_layer", "threshold")
        # digests of earlier versions had no such option
        rows_as = {} if self.options.rows_as == "input" else {"rows_as": self.options.rows_as}
        return {**{name: getattr(self.options, name) for name in names}, "aggregate": self._how, **rows_as}

    def check(self, request: Request) -> None:
        _ = self.request
        check_share({"threshold": self.options.threshold}, "threshold")

    def run(self, execution: Execution) -> tuple[Collected, Sequence[Flow]]:
        """Return the run and the flows of the chosen kinds; computing them needs all kinds of the model."""
        from attncli.studies.flow.compute import FlowSink

        kinds, request = execution.request.choice.kinds, self.request
        execution.request = replace(execution.request, choice=replace(execution.request.choice, kinds=None))
        if execution.existing is not None:
            request = _of_combined(request, execution.existing.maps)
        else:
            _note_cost(execution.prepared, request)
        run, sink = execution.stream(lambda source: FlowSink(source, kinds, request), adapt=_with_one_head)
        flows = sink.flows(execution.track)
        undrawn = any(flow.steps is None for flow in flows)
        note = f"the layers of texts of more than {DRAWN_UP_TO} tokens are not drawn: only their matrix is"
        return run.with_notes(*sink.notes, *([note] if undrawn else [])), flows

    def report(self, result: Sequence[Flow], run: Collected) -> Report:
        from attncli.studies.flow.report import flow_report

        return flow_report(result, self.request.name, self.options.threshold, run)

    def terminal(self, result: Sequence[Flow], run: Collected) -> Iterator[Table]:
        from attncli.studies.flow.terminal import flow_tables

        return flow_tables(
            result[: self._in_first_text(result)], self.request.name, len(run.inputs) > 1, run.info.kinds
        )

    def details(self, result: Sequence[Flow], run: Collected) -> Iterator[Table]:
        """Return the tables of all texts but the first."""
        from attncli.studies.flow.terminal import flow_tables

        return flow_tables(result[self._in_first_text(result) :], self.request.name, True, run.info.kinds)

    @staticmethod
    def _in_first_text(flows: Sequence[Flow]) -> int:
        """Return how many flows are of the first text: one for each kind of attention."""
        return sum(flow.text == flows[0].text for flow in flows)


def _note_cost(prepared: Pass, request: FlowRequest) -> None:
    """Say what a rollout of a long text costs; attention flow has a limit of its own (`check_cost`)."""
    from attncli.studies.flow.request import rollout_passes

    tokens = longest(prepared)
    if request.method == "rollout":
        causal = all(kind != "encoder" for kind, _ in prepared.heads)
        note_cost("flow", prepared, rollout_passes(tokens, layer_work(prepared, tokens), causal))


def _of_combined(request: FlowRequest, maps: Sequence[Attention]) -> FlowRequest:
    """Return the request for maps that are combined over heads already; raise UsageError if over layers."""
    if any(attention.aggregate_layers != "none" for attention in maps):
        raise UsageError(
            "flow goes from layer to layer, these maps are the mean over layers: keep them without --aggregate-layers"
        )
    aggregates: set[Any] = {attention.aggregate for attention in maps} - {"none"}
    return replace(request, aggregate=aggregates.pop()) if aggregates else request


def _with_one_head(maps: Sequence[Attention]) -> Sequence[Attention]:
    """Return maps in which the combined map of a layer is its head 0."""
    return [
        replace(attention, layers=tuple(replace(layer, heads=layer.heads or (0,)) for layer in attention.layers))
        for attention in maps
    ]
