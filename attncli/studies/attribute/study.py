"""The study `attribute`: how much each token counts for a prediction, by several methods."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

from attncli.engine.checks import check_seeds
from attncli.engine.explain_request import ExplainRequest
from attncli.engine.report import Formats, Report
from attncli.engine.study import Study
from attncli.errors import UsageError, did_you_mean
from attncli.options import SelectionOptions
from attncli.studies.attribute.options import AttributeOptions
from attncli.vocabulary import ATTRIBUTION_METHODS, BASELINES, PAGE_FORMATS, PICTURE_FORMATS, SCORES, TABLE_FORMATS

if TYPE_CHECKING:  # the help of the command line needs no NumPy: what loads it is imported in functions
    from rich.console import RenderableType

    from attncli.data import Spans
    from attncli.engine.collected import Collected
    from attncli.engine.execution import Execution
    from attncli.engine.request import Request
    from attncli.studies.attribute.result import Attribution


@dataclass(frozen=True)
class AttributeStudy(Study["Attribution"]):
    """How much each token, word or segment counts for a prediction.

    spans  the spans of the segments of the text; read from `options.segments` on the command line
    """

    options: AttributeOptions = field(default_factory=AttributeOptions)
    spans: tuple[Spans, ...] | None = None
    name = "attribution"
    command = "attribute"
    group = AttributeOptions
    formats = Formats((*TABLE_FORMATS, *PICTURE_FORMATS, *PAGE_FORMATS), ("json", "csv", "png", "html"))

    def adapt(self, selection: SelectionOptions, from_saved_run: bool) -> Self:
        """Return the study with the spans of its file; raise UsageError if they are wrong or exclude `--divide`."""
        from attncli.inputs.partitions import read_spans

        if from_saved_run:
            raise UsageError("attribute needs a model that predicts, a saved run has none: give --model and --text")
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

        ExplainRequest.parse(self.options.explain)
        for name in self.options.methods:
            if name not in ATTRIBUTION_METHODS:
                raise UsageError(f"unknown --method '{name[:60]}': {did_you_mean(name, ATTRIBUTION_METHODS)}")
        for name, choices in {"score": SCORES, "baseline": BASELINES}.items():
            value = getattr(self.options, name)
            if value not in choices:
                raise UsageError(f"unknown --{name} '{str(value)[:60]}': {did_you_mean(str(value), choices)}")
        if self.options.divide is not None:
            check_division(self.options.divide)
        check_seeds("--steps", self.options.steps, 1)
        check_seeds("--samples", self.options.samples, 1)
        if self.options.seed < 0:
            raise UsageError(f"expected --seed from 0 up, got {self.options.seed}")
        if request.by == "norm":
            raise UsageError("attribute reads attention weights: leave out by='norm'")
        if request.combined:
            raise UsageError(
                "attribute takes the mean over the heads that --layer and --head select: leave out --aggregate and "
                "--aggregate-layers"
            )
        if self.spans is not None and len(self.spans) != 1:
            raise UsageError(f"attribute reads one text, there are segments for {len(self.spans)}: give one object")

    def run(self, execution: Execution) -> tuple[Collected, Attribution]:
        """Return the run that was read, and the result."""
        from attncli.studies.attribute.compute import attribute

        if len(execution.texts) != 1:
            raise UsageError(f"attribute explains one text, got {len(execution.texts)} texts: give one text")
        spans = None if self.spans is None else self.spans[0]
        return attribute(execution, self.options, spans)

    def report(self, result: Attribution, run: Collected) -> Report:
        from attncli.studies.attribute.report import attribution_report

        return attribution_report(result, run)

    def terminal(self, result: Attribution, run: Collected) -> Iterable[RenderableType]:
        from attncli.studies.attribute.terminal import attribution_tables

        return attribution_tables(result)
