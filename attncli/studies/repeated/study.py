"""The study `repeated`: which heads find earlier copies of a token, by random tokens that come twice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self

from attncli.engine.report import Report
from attncli.engine.study import Study
from attncli.errors import UsageError, did_you_mean
from attncli.options import SelectionOptions
from attncli.studies.repeated.options import RepeatedOptions
from attncli.vocabulary import PROBES

if TYPE_CHECKING:  # the help of the command line needs no NumPy
    from rich.table import Table

    from attncli.engine.collected import Collected
    from attncli.engine.execution import Execution
    from attncli.engine.passes import Pass
    from attncli.engine.request import Request
    from attncli.studies.repeated.result import Repeated


@dataclass(frozen=True)
class RepeatedStudy(Study["Repeated"]):
    """Scores of all heads on repeated random tokens; run by `attncli patterns --probe repeated`."""

    options: RepeatedOptions = field(default_factory=RepeatedOptions)
    name = "repeated"
    command = "patterns"
    group = RepeatedOptions
    reads = False

    def adapt(self, selection: SelectionOptions, from_saved_run: bool) -> Self:
        if self.options.probe not in PROBES:
            raise UsageError(f"unknown --probe '{self.options.probe}': {did_you_mean(str(self.options.probe), PROBES)}")
        if from_saved_run:
            raise UsageError("--probe runs a model on tokens of its own, and --from has none: leave one of them out")
        return self

    def check(self, request: Request) -> None:
        from attncli.engine.request import check_seeds

        if request.by == "norm":
            raise UsageError("patterns are of attention weights: leave out by='norm'")
        if request.combined:
            raise UsageError("patterns are of single heads: leave out --aggregate and --aggregate-layers")
        if self.options.length < 2:
            raise UsageError(f"expected --length from 2 tokens up, got {self.options.length}")
        check_seeds("--sequences", self.options.sequences, 1)

    def run(self, execution: Execution) -> tuple[Collected, Repeated]:
        """Return the run over the random tokens, and the scores."""
        from attncli.engine.collected import Collected
        from attncli.store import input_sha256

        prepared, result = self.probe(execution)
        info = replace(prepared.info_of(()), seed=0, input_sha256=input_sha256(()))
        return execution.finish(Collected(info, tuple(prepared.inputs))), result

    def probe(self, execution: Execution) -> tuple[Pass, Repeated]:
        """Return the pass over the repeated tokens and the scores, whatever the texts of the execution are."""
        from attncli.engine.passes import Pass
        from attncli.inputs.random_inputs import RandomTokens
        from attncli.studies.repeated.compute import RepeatedSink

        runner, request = execution.runner, replace(execution.request, keep_maps=False)
        plan, tokens = runner.plan(request.capture), RandomTokens.of(runner.loaded)
        length, seeds = self.options.length, range(self.options.sequences)
        passes, sinks = [], []
        for repeated in (True, False):
            batches = tokens.batches(length, seeds, request.batch_tokens, repeated)
            passes.append(Pass.prepare(runner.loaded, plan, batches, request))
            sinks.append(RepeatedSink(len(tokens.start), length))
            passes[-1].gather(execution.track, more=[sinks[-1]])
        return passes[0], sinks[0].result(sinks[1], seeds)

    def report(self, result: Repeated, run: Collected) -> Report:
        from attncli.studies.repeated.report import repeated_report

        return repeated_report(result, run)

    def terminal(self, result: Repeated, run: Collected) -> Iterator[Table]:
        from attncli.studies.repeated.terminal import repeated_tables

        return repeated_tables(result)
