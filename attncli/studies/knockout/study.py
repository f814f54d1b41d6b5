"""The study `knockout`: which tokens or segments one prediction needs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

from attncli.engine.explain_request import ExplainRequest
from attncli.engine.report import Report
from attncli.engine.study import Study
from attncli.errors import UsageError
from attncli.options import SelectionOptions
from attncli.studies.knockout.options import KnockoutOptions

if TYPE_CHECKING:  # the help of the command line needs no NumPy: what loads it is imported in functions
    from rich.table import Table

    from attncli.data import Spans
    from attncli.engine.collected import Collected
    from attncli.engine.execution import Execution
    from attncli.engine.request import Request
    from attncli.studies.knockout.result import Knockout


@dataclass(frozen=True)
class KnockoutStudy(Study["Knockout"]):
    """The change of one prediction when attention to each token, word or segment is blocked, in windows of layers.

    spans  the spans of the segments of the text; read from `options.segments` on the command line
    """

    options: KnockoutOptions = field(default_factory=KnockoutOptions)
    spans: tuple[Spans, ...] | None = None
    name = "knockout"
    group = KnockoutOptions

    def adapt(self, selection: SelectionOptions, from_saved_run: bool) -> Self:
        """Return the study with the spans of its file; raise UsageError if they are wrong or exclude `--divide`."""
        from attncli.inputs.partitions import read_spans

        if from_saved_run:
            raise UsageError("knockout needs a model that predicts, a saved run has none: give --model and --text")
        if self.options.segments is None:
            return self
        if self.options.divide is not None:
            raise UsageError("--segments says what the segments are, as --divide does: give one of them")
        return replace(self, spans=read_spans(self.options.segments))

    def resolved(self) -> dict[str, Any]:
        """Return the options with the contents of the file of segments."""
        if self.spans is None:
            return super().resolved()
        from attncli.inputs.partitions import plain_spans

        return {**super().resolved(), "segments": plain_spans(self.spans)}

    def check(self, request: Request) -> None:
        from attncli.inputs.partitions import check_division

        if ExplainRequest.parse(self.options.explain).form == "labels":
            raise UsageError("knockout explains one prediction: give --explain label:NAME")
        if self.options.divide is not None:
            check_division(self.options.divide)
        size = self.options.window_layers
        if size is not None and (not isinstance(size, int) or size < 1):
            raise UsageError(f"expected --window-layers as a number from 1 up, got {size!r:.60}")
        if request.by == "norm":
            raise UsageError("knockout blocks attention weights: leave out by='norm'")
        if request.combined:
            raise UsageError("knockout blocks single layers: leave out --aggregate and --aggregate-layers")
        if self.spans is not None and len(self.spans) != 1:
            raise UsageError(f"knockout reads one text, there are segments for {len(self.spans)}: give one object")

    def run(self, execution: Execution) -> tuple[Collected, Knockout]:
        """Return the run that was read, and the result."""
        from attncli.studies.knockout.passes import knock_out

        if len(execution.texts) != 1:
            raise UsageError(f"knockout explains one prediction, got {len(execution.texts)} texts: give one text")
        spans = None if self.spans is None else self.spans[0]
        return knock_out(execution, self.options, spans)

    def report(self, result: Knockout, run: Collected) -> Report:
        from attncli.studies.knockout.report import knockout_report

        return knockout_report(result, run)

    def terminal(self, result: Knockout, run: Collected) -> Iterable[Table]:
        from attncli.studies.knockout.terminal import knockout_tables

        return knockout_tables(result, run.info.kinds)
