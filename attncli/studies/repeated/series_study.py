"""The probe of repeated tokens over checkpoints; run by `attncli patterns --probe repeated --model 'DIR/*'`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

from attncli.engine.report import Report
from attncli.engine.study import Study
from attncli.options import SelectionOptions
from attncli.studies.repeated.options import RepeatedOptions
from attncli.studies.repeated.study import RepeatedStudy

if TYPE_CHECKING:  # the help of the command line needs no NumPy
    from rich.table import Table

    from attncli.engine.collected import Collected
    from attncli.engine.execution import Execution
    from attncli.engine.request import Request
    from attncli.studies.repeated.result import Repeated
    from attncli.studies.repeated.series import Checkpoint, Series


@dataclass(frozen=True)
class SeriesStudy(Study["Series"]):
    """The probe of repeated tokens on every checkpoint of a series.

    probe        the probe of one checkpoint
    checkpoints  the checkpoints in the order of their steps
    """

    options: RepeatedOptions = field(default_factory=RepeatedOptions)
    probe: RepeatedStudy = field(default_factory=RepeatedStudy)
    checkpoints: tuple[Checkpoint, ...] = ()
    name = "repeated"
    command = "patterns"
    group = RepeatedOptions
    reads = False

    def adapt(self, selection: SelectionOptions, from_saved_run: bool) -> Self:
        self.probe.adapt(selection, from_saved_run)
        return self

    def resolved(self) -> dict[str, Any]:
        return {**self.probe.resolved(), "checkpoints": [checkpoint.name for checkpoint in self.checkpoints]}

    def check(self, request: Request) -> None:
        self.probe.check(request)

    def run(self, execution: Execution) -> tuple[Collected, Series]:
        """Return the run over the tokens, which are the same for all checkpoints, and the results of each."""
        from attncli.engine.runner import load_runner, merge_infos
        from attncli.studies.repeated.series import Series, check_alike

        runs: list[Collected] = []
        results: list[Repeated] = []
        with execution.track("probing", len(self.checkpoints), "checkpoints") as advance:
            for checkpoint in self.checkpoints:
                runner = load_runner({**execution.arguments, "name": checkpoint.path})
                run, result = self.probe.run_on(runner, execution)
                check_alike((results or [result])[0], result, (self.checkpoints[0].name, checkpoint.name))
                runs.append(run)
                results.append(result)
                advance(1)
        info = replace(merge_infos([run.info for run in runs]), model=execution.arguments["name"])
        return execution.finish(replace(runs[0], info=info)), Series(self.checkpoints, results)

    def report(self, result: Series, run: Collected) -> Report:
        from attncli.studies.repeated.series_report import series_report

        return series_report(result, run)

    def terminal(self, result: Series, run: Collected) -> Iterator[Table]:
        from attncli.studies.repeated.terminal import series_tables

        return series_tables(result)
