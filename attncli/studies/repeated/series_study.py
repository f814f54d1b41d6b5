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
        from attncli.engine.checkpoints import check_same_heads, head_keys_of
        from attncli.engine.on_checkpoints import each_checkpoint
        from attncli.engine.runner import merge_infos
        from attncli.studies.repeated.series import Series

        runs: list[Collected] = []
        results: list[Repeated] = []
        for checkpoint, own in each_checkpoint(execution, self.checkpoints, "probing"):
            run, result = self.run_on(own.runner, execution)
            runs.append(run)
            results.append(result)
            first, own_heads = (head_keys_of(shown.table()) for shown in (results[0], result))
            check_same_heads(first, own_heads, (self.checkpoints[0].name, checkpoint.name))
        info = replace(merge_infos([run.info for run in runs]), model=execution.arguments["name"])
        return execution.finish(replace(runs[0], info=info)), Series(self.checkpoints, results)

    def report(self, result: Series, run: Collected) -> Report:
        from attncli.studies.repeated.series_report import series_report

        return series_report(result, run)

    def terminal(self, result: Series, run: Collected) -> Iterator[Table]:
        from attncli.studies.repeated.terminal import series_tables

        return series_tables(result)
