"""The probe of repeated tokens over checkpoints; run by `attncli patterns --probe repeated --model 'DIR/*'`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from attncli.engine.report import Report
from attncli.studies.repeated.study import ProbeStudy

if TYPE_CHECKING:  # the help of the command line needs no NumPy
    from rich.table import Table

    from attncli.engine.checkpoints import Checkpoint
    from attncli.engine.collected import Collected
    from attncli.engine.execution import Execution
    from attncli.studies.repeated.result import Repeated
    from attncli.studies.repeated.series import Series


@dataclass(frozen=True)
class SeriesStudy(ProbeStudy["Series"]):
    """The probe of repeated tokens on every checkpoint of a series.

    checkpoints  the checkpoints in the order of their steps
    """

    checkpoints: tuple[Checkpoint, ...] = ()

    def resolved(self) -> dict[str, Any]:
        return {**super().resolved(), "checkpoints": [checkpoint.name for checkpoint in self.checkpoints]}

    def run(self, execution: Execution) -> tuple[Collected, Series]:
        """Return the run over the tokens, which are the same for all checkpoints, and the results of each."""
        from attncli.engine.checkpoints import check_same_heads
        from attncli.engine.runner import load_runner, merge_infos
        from attncli.studies.repeated.series import Series

        runs: list[Collected] = []
        results: list[Repeated] = []
        with execution.track("probing", len(self.checkpoints), "checkpoints") as advance:
            for checkpoint in self.checkpoints:
                # one model at a time is in memory
                run, result = self.run_on(load_runner({**execution.arguments, "name": checkpoint.path}), execution)
                names = self.checkpoints[0].name, checkpoint.name
                check_same_heads((results or [result])[0].table(), result.table(), names)
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
