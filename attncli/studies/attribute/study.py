"""The study `attribute`: how much each token counts for a prediction, by several methods."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from attncli.engine.checks import check_choice, check_seeds
from attncli.engine.explain_request import ExplainRequest
from attncli.engine.explaining import ExplainingStudy
from attncli.engine.report import Formats, Report
from attncli.errors import UsageError, did_you_mean
from attncli.studies.attribute.options import AttributeOptions
from attncli.vocabulary import ATTRIBUTION_METHODS, BASELINES, PAGE_FORMATS, PICTURE_FORMATS, SCORES, TABLE_FORMATS

if TYPE_CHECKING:  # the help of the command line needs no NumPy: what loads it is imported in functions
    from rich.console import RenderableType

    from attncli.data.part_states import PartState
    from attncli.engine.collected import Collected
    from attncli.engine.execution import Execution
    from attncli.engine.request import Request
    from attncli.studies.attribute.corpus_result import CorpusAttribution
    from attncli.studies.attribute.result import Attribution


@dataclass(frozen=True)
class AttributeStudy(ExplainingStudy["Attribution | CorpusAttribution"]):
    """How much each token, word or segment counts for a prediction; of several texts in tables only."""

    options: AttributeOptions = field(default_factory=AttributeOptions)
    name = "attribution"
    uncompiled = "passes with gradients"
    command = "attribute"
    group = AttributeOptions
    sharded = True
    shard_texts = 16
    corpus_from = 1
    formats_of_corpus = Formats(TABLE_FORMATS, ("json", "csv"))
    formats = Formats((*TABLE_FORMATS, *PICTURE_FORMATS, *PAGE_FORMATS), ("json", "csv", "png", "html"))

    def check(self, request: Request) -> None:
        super().check(request)
        check_attribution(self.command, self.options, request)

    def run(self, execution: Execution) -> tuple[Collected, Attribution]:
        """Return the run that was read, and the result."""
        from attncli.studies.attribute.compute import attribute

        return attribute(execution, self.options, self.spans_of_text(execution))

    def needs_texts(self) -> str:
        """Return the option that names the segments of one text."""
        return "--segments" if self.spans is not None else ""

    def shard(self, execution: Execution) -> tuple[Collected, PartState]:
        from attncli.studies.attribute.sharding import attribute_each

        return attribute_each(execution, self.options)

    def merge(
        self, states: Iterable[PartState], run: Collected, execution: Execution
    ) -> tuple[Collected, CorpusAttribution]:
        """Return the run of a corpus and the result, whose tables are read from the states when they are needed."""
        from attncli.studies.attribute.sharding import merged_attribution

        return run, merged_attribution(states, ExplainRequest.parse(self.options.explain).spec)

    def report(self, result: Attribution | CorpusAttribution, run: Collected) -> Report:
        from attncli.studies.attribute.report import attribution_report, corpus_report
        from attncli.studies.attribute.result import Attribution

        return attribution_report(result, run) if isinstance(result, Attribution) else corpus_report(result, run)

    def terminal(self, result: Attribution | CorpusAttribution, run: Collected) -> Iterable[RenderableType]:
        from attncli.studies.attribute.result import Attribution
        from attncli.studies.attribute.terminal import attribution_tables, methods_table

        return attribution_tables(result) if isinstance(result, Attribution) else methods_table(result)


def check_attribution(command: str, options: AttributeOptions, request: Request) -> None:
    """Check the options of methods, before any heavy work; raise UsageError if they are wrong.

    command  the command, for errors
    """
    ExplainRequest.parse(options.explain)
    for name in options.methods:
        if name not in ATTRIBUTION_METHODS:
            raise UsageError(f"unknown --method '{name[:60]}': {did_you_mean(name, ATTRIBUTION_METHODS)}")
    check_choice(vars(options), "score", SCORES)
    check_choice(vars(options), "baseline", BASELINES)
    check_seeds("--steps", options.steps, 1)
    check_seeds("--samples", options.samples, 1)
    if options.seed < 0:
        raise UsageError(f"expected --seed from 0 up, got {options.seed}")
    if request.by == "norm":
        raise UsageError(f"{command} reads attention weights: leave out by='norm'")
    if request.combined:
        raise UsageError(
            f"{command} takes the mean over the heads that --layer and --head select: leave out --aggregate and "
            "--aggregate-layers"
        )
