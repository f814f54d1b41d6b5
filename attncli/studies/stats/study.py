"""The study `stats`: every metric of every head."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from attncli.engine.report import Formats, Report
from attncli.engine.study import Study
from attncli.errors import UsageError
from attncli.options import SelectionOptions, changed, key
from attncli.studies.stats.options import StatsOptions
from attncli.vocabulary import ALL_METRICS, TABLE_FORMATS

if TYPE_CHECKING:  # the help of the command line needs no torch
    from rich.table import Table

    from attncli.data import Statistics
    from attncli.engine.collected import Collected
    from attncli.engine.execution import Execution
    from attncli.engine.request import Request, RunOptions


@dataclass(frozen=True)
class StatsStudy(Study["Statistics"]):
    """Metrics of every head, and on request the strongest weights and a profile of the whole texts."""

    options: StatsOptions = field(default_factory=StatsOptions)
    name = "stats"
    group = StatsOptions
    formats = Formats(TABLE_FORMATS, ("json", "csv"), drawings=("png",))

    def adapt(self, selection: SelectionOptions, from_saved_run: bool) -> Self:
        """Return the study; raise UsageError if options of the profile are given without it."""
        extra = sorted({"ends", "sink_threshold"} & changed(self.options).keys())
        if extra and not self.options.profile:
            raise UsageError(f"--{key(extra[0])} is an option of --profile: add --profile, or leave it out")
        return self

    def run_options(self) -> RunOptions:
        """Return the metrics, edges and profile that the forward pass measures; maps are kept only to save them."""
        options = self.options
        by: Any = options.by
        return {
            "metrics": [name.strip() for value in options.metric or [ALL_METRICS] for name in value.split(",")],
            "per_query": options.per_query,
            "top_k": options.top_k,
            "min_weight": options.min_weight,
            "profile": options.profile,
            "ends": options.ends,
            "keep_maps": False,
            "by": by,
        }

    def resolved(self) -> dict[str, Any]:
        """Return the options that change the result, without those of the forward pass."""
        return {"spread": self.options.spread, "sink_threshold": self.options.sink_threshold}

    def resolved_with_formats(self, formats: tuple[str, ...]) -> dict[str, Any]:
        """Return `resolved` with the formats, named as in the digests of earlier versions."""
        return {"formats": formats, **self.resolved()}

    def check(self, request: Request) -> None:
        """Raise UsageError if the threshold of sinks is no share."""
        # imported here: the help of the command line needs no NumPy
        from attncli.engine.request import check_share

        check_share({"sink_threshold": self.options.sink_threshold}, "sink_threshold")

    def run(self, execution: Execution) -> tuple[Collected, Statistics]:
        """Return the run with its profile, and the statistics."""
        run = execution.gather()
        assert run.statistics is not None  # `run_options` names metrics
        return run, run.statistics

    def report(self, result: Statistics, run: Collected) -> Report:
        """Return the document, the tables and the pictures of the statistics and of the profile."""
        # imported here: metrics need torch
        from attncli.engine.measuring import declarations
        from attncli.studies.stats.report import document, has_values, profile_drawings, statistics_drawings, tables

        metrics = declarations(dict.fromkeys([*result.heads, *result.tokens, *result.keys]))
        drawings = [*statistics_drawings(result, run, metrics, self.options.spread)]
        if run.whole is not None:
            drawings += profile_drawings(run.whole, run, self.options.sink_threshold)
        note = "there is no picture: none of these metrics has a value for a whole head here"
        return Report(
            run.info,
            document(result, run, metrics),
            tables(result, run.whole, self.options.sink_threshold),
            drawings,
            () if has_values(result) else (note,),
        )

    def terminal(self, result: Statistics, run: Collected) -> Iterator[Table]:
        """Return a table of metrics for each kind of attention."""
        from attncli.studies.stats.terminal import metric_tables

        return metric_tables(result)
