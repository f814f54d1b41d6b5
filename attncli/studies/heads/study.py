"""The study `heads`: distances between heads, clusters, redundant pairs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self

from attncli.engine.checks import check_seeds
from attncli.engine.costs import note_cost
from attncli.engine.report import Report
from attncli.engine.study import Study
from attncli.errors import UsageError
from attncli.options import SelectionOptions, changed
from attncli.studies.heads.options import HeadsOptions

if TYPE_CHECKING:  # the help of the command line needs no torch
    from rich.table import Table

    from attncli.data.part_states import PartState
    from attncli.engine.collected import Collected
    from attncli.engine.execution import Execution, Source
    from attncli.engine.request import Request
    from attncli.studies.heads.compute import DistancesSink, HeadsSink
    from attncli.studies.heads.result import HeadsResult
    from attncli.studies.heads.similarity import StatesSink

PASSES = 1.9
"""Forward passes that the comparison of heads takes for each reading of a long text, as measured."""


@dataclass(frozen=True)
class HeadsStudy(Study["HeadsResult"]):
    """Distances between all heads, clusters, redundant pairs, and how similar the tokens of each layer are."""

    options: HeadsOptions = field(default_factory=HeadsOptions)
    name = "heads"
    group = HeadsOptions
    sharded = True

    def adapt(self, selection: SelectionOptions, from_saved_run: bool) -> Self:
        """Return the study without shuffled passes for a saved run; raise UsageError if options exclude each other."""
        typed = changed(self.options)
        if {"clusters", "threshold"} <= typed.keys():
            raise UsageError("--clusters and --threshold both say how many clusters there are: give one")
        if not from_saved_run:
            return self
        if "shuffles" in typed:
            raise UsageError("--shuffles runs the model on shuffled tokens, and --from has none: leave it out")
        return replace(self, options=replace(self.options, shuffles=0))

    def check(self, request: Request) -> None:
        from attncli.studies.heads.compute import check_installed
        from attncli.studies.heads.result import LARGEST_DISTANCE

        if request.by == "norm":
            raise UsageError("distances between heads are of attention weights: leave out by='norm'")
        if request.combined:
            raise UsageError("heads are compared one by one: leave out --aggregate and --aggregate-layers")
        check_installed()
        for name in ("threshold", "redundant"):
            value = getattr(self.options, name)
            if not 0 <= value <= LARGEST_DISTANCE + 1e-9:
                raise UsageError(f"expected --{name} to be a distance from 0 to {LARGEST_DISTANCE:.3f}, got {value!r}")
        if self.options.clusters is not None and self.options.clusters < 1:
            raise UsageError(f"expected --clusters from 1 up, got {self.options.clusters}")
        check_seeds("--shuffles", self.options.shuffles, 0)

    def sink(self, source: Source) -> HeadsSink:
        """Return the sink for the heads of a source; raise UsageError if there are more clusters than heads."""
        from attncli.engine.memory import maps_per_kind
        from attncli.studies.heads.compute import HeadsSink

        clusters = self.options.clusters or 0
        for kind, count in maps_per_kind(source.heads, one_head=False, one_layer=False).items():
            if clusters > count:
                raise UsageError(f"expected --clusters up to {count}, the number of {kind} heads, got {clusters}")
        return HeadsSink(source.inputs, source.heads)

    def run(self, execution: Execution) -> tuple[Collected, HeadsResult]:
        """Return the run, with the seed of its shuffled passes, and the result.

        With a model it has hidden states and the baseline of shuffled tokens.
        """
        from attncli.studies.heads.similarity import StatesSink, state_numbers

        of_states, seeds = StatesSink(), self.options.shuffles
        if execution.existing is None:
            note_cost("heads", execution.prepared, PASSES * (1 + seeds))
        run, sink = execution.stream(self.sink, more=[of_states])
        seed = 0 if seeds else run.info.seed
        run = replace(run, info=replace(run.info, seed=seed))
        if not execution.has_model:
            return run, sink.result(self.options)
        is_pass = execution.existing is None  # kept maps have no hidden states
        states = of_states.means() if is_pass else state_numbers([execution.prepared], execution.track)
        shuffled, shuffled_states = self._shuffled(execution)
        if shuffled is None:
            return run, sink.result(self.options, states)
        return run, sink.result(self.options, states, shuffled, shuffled_states.means())

    def _shuffled(self, execution: Execution) -> tuple[DistancesSink | None, StatesSink]:
        """Return distances and hidden states of shuffled tokens; None without such passes."""
        from attncli.studies.heads.compute import DistancesSink
        from attncli.studies.heads.similarity import StatesSink

        states, seeds = StatesSink(), self.options.shuffles
        return execution.shuffled(seeds, lambda source: DistancesSink(source.inputs, source.heads), [states]), states

    def shard(self, execution: Execution) -> tuple[Collected, PartState]:
        from attncli.studies.heads.similarity import StatesSink

        of_states = StatesSink()
        run, sink = execution.stream(self.sink, more=[of_states])
        state = {"observed": sink.state(), "states": of_states.state()}
        shuffled, shuffled_states = self._shuffled(execution)
        if shuffled is not None:
            state |= {"shuffled": shuffled.state(), "shuffled states": shuffled_states.state()}
        return run, state

    def merge(self, states: Iterable[PartState], run: Collected, execution: Execution) -> tuple[Collected, HeadsResult]:
        from attncli.stream.sums import Moments
        from attncli.studies.heads.compute import DistancesSink, HeadsSink
        from attncli.studies.heads.similarity import absorb_states, means_of

        sink, shuffled = HeadsSink((), {}), DistancesSink((), {})
        moments, shuffled_moments = dict[str, Moments](), dict[str, Moments]()
        for state in states:
            sink.absorb(state["observed"])
            absorb_states(moments, state["states"])
            if self.options.shuffles:
                shuffled.absorb(state["shuffled"])
                absorb_states(shuffled_moments, state["shuffled states"])
        seed, of_texts = run.info.seed, means_of(moments)
        if self.options.shuffles:
            seed, result = 0, sink.result(self.options, of_texts, shuffled, means_of(shuffled_moments))
        else:
            result = sink.result(self.options, of_texts)
        return replace(run, info=replace(run.info, seed=seed)), result

    def report(self, result: HeadsResult, run: Collected) -> Report:
        from attncli.studies.heads.report import heads_report

        return heads_report(result, run)

    def terminal(self, result: HeadsResult, run: Collected) -> Iterator[Table]:
        from attncli.studies.heads.terminal import heads_tables

        return heads_tables(result, run.info.kinds)

    def details(self, result: HeadsResult, run: Collected) -> Iterator[Table]:
        """Return the smoothness of each layer, and its hidden states if they were measured."""
        from attncli.studies.heads.terminal import layers_tables

        return layers_tables(result, run.info.kinds)
