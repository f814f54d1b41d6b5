"""The study `knockout`: which tokens or segments one prediction needs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from attncli.engine.explain_request import ExplainRequest
from attncli.engine.explaining import ExplainingStudy
from attncli.engine.report import Report
from attncli.errors import UsageError
from attncli.studies.knockout.options import KnockoutOptions

if TYPE_CHECKING:  # the help of the command line needs no NumPy: what loads it is imported in functions
    from rich.table import Table

    from attncli.engine.collected import Collected
    from attncli.engine.execution import Execution
    from attncli.engine.request import Request
    from attncli.studies.knockout.result import Knockout


@dataclass(frozen=True)
class KnockoutStudy(ExplainingStudy["Knockout"]):
    """The change of one prediction when attention to each token, word or segment is blocked, in windows of layers."""

    options: KnockoutOptions = field(default_factory=KnockoutOptions)
    name = "knockout"
    uncompiled = "passes with edits"
    group = KnockoutOptions

    def check(self, request: Request) -> None:
        super().check(request)
        if ExplainRequest.parse(self.options.explain).form == "labels":
            raise UsageError("knockout explains one prediction: give --explain label:NAME")
        size = self.options.window_layers
        if size is not None and (not isinstance(size, int) or size < 1):
            raise UsageError(f"expected --window-layers as a number from 1 up, got {size!r:.60}")
        if request.by == "norm":
            raise UsageError("knockout blocks attention weights: leave out by='norm'")
        if request.combined:
            raise UsageError("knockout blocks single layers: leave out --aggregate and --aggregate-layers")

    def run(self, execution: Execution) -> tuple[Collected, Knockout]:
        """Return the run that was read, and the result."""
        from attncli.studies.knockout.passes import knock_out

        return knock_out(execution, self.options, self.spans_of_text(execution))

    def report(self, result: Knockout, run: Collected) -> Report:
        from attncli.studies.knockout.report import knockout_report

        return knockout_report(result, run)

    def terminal(self, result: Knockout, run: Collected) -> Iterable[Table]:
        from attncli.studies.knockout.terminal import knockout_tables

        return knockout_tables(result, run.info.kinds)
