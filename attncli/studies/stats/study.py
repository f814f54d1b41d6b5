"""The study `stats`: every metric of every head."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self, cast

from attncli.engine.checks import check_share
from attncli.engine.report import Formats, Report
from attncli.engine.study import Study
from attncli.errors import UsageError
from attncli.options import SelectionOptions, changed, key
from attncli.studies.stats.options import StatsOptions
from attncli.vocabulary import ALL_METRICS, PICTURE_FORMATS, TABLE_FORMATS

if TYPE_CHECKING:  # the help of the command line needs no torch: what loads it is imported in functions
    from rich.table import Table

    from attncli.data import Statistics
    from attncli.data.part_states import PartState
    from attncli.engine.collected import Collected
    from attncli.engine.execution import Execution
    from attncli.engine.request import Request, RunOptions

TOKEN_METRICS = ("first_mass", "special_mass")
"""Metrics that --special-tokens adds: the first token, and all special tokens together."""


@dataclass(frozen=True)
class StatsStudy(Study["Statistics"]):
    """Metrics of every head, and on request the strongest weights and a profile of the whole texts."""

    options: StatsOptions = field(default_factory=StatsOptions)
    name = "stats"
    any_axes = True
    sharded = True
    group = StatsOptions
    formats = Formats((*TABLE_FORMATS, *PICTURE_FORMATS), ("json", "csv"), drawings=("png",))

    def adapt(self, selection: SelectionOptions, from_saved_run: bool) -> Self:
        extra = sorted({"ends", "min_rows", "sink_threshold"} & changed(self.options).keys())
        if extra and not self.options.profile:
            raise UsageError(f"--{key(extra[0])} is an option of --profile: add --profile, or leave it out")
        options = self.options
        names_rows = options.per_query or options.top_k is not None or options.min_weight is not None
        if "rows_as" in changed(options) and not names_rows:
            raise UsageError("--rows-as names the rows of --per-query, --top-k and --min-weight: add one of them")
        return self

    def run_options(self) -> RunOptions:
        """Return the metrics, edges and profile that the forward pass measures; maps are kept only to save them."""
        metrics = [name.strip() for value in self.options.metric or [ALL_METRICS] for name in value.split(",")]
        if self.options.special_tokens and ALL_METRICS not in metrics:
            metrics += [name for name in TOKEN_METRICS if name not in metrics]
        names = (
            *("per_query", "rows_as", "pool_texts", "special_tokens", "top_k", "min_weight"),
            *("profile", "ends", "min_rows", "by"),
        )
        same = {name: getattr(self.options, name) for name in names}
        return cast("RunOptions", {"metrics": metrics, "keep_maps": False, **same})

    def resolved(self) -> dict[str, Any]:
        """Return the options of the files; that of the table of layers only if it is given, as digests lacked it."""
        layers = {"by_layer": True} if self.options.by_layer else {}
        return {"spread": self.options.spread, "sink_threshold": self.options.sink_threshold, **layers}

    def resolved_with_formats(self, formats: tuple[str, ...]) -> dict[str, Any]:
        """Return `resolved` with the formats, named as in the digests of earlier versions."""
        return {"formats": formats, **self.resolved()}

    def check(self, request: Request) -> None:
        check_share({"sink_threshold": self.options.sink_threshold}, "sink_threshold")

    def run(self, execution: Execution) -> tuple[Collected, Statistics]:
        run = execution.gather()
        assert run.statistics is not None  # `run_options` names metrics
        return run, run.statistics

    def shard(self, execution: Execution) -> tuple[Collected, PartState]:
        return execution.reduce()

    def merge(self, states: Iterable[PartState], run: Collected, execution: Execution) -> tuple[Collected, Statistics]:
        from attncli.engine.measuring import merged_statistics

        statistics = merged_statistics(execution.request, states)
        return replace(run, statistics=statistics), statistics

    def report(self, result: Statistics, run: Collected) -> Report:
        from attncli.studies.stats.report import stats_report

        return stats_report(result, run, self.options)

    def terminal(self, result: Statistics, run: Collected) -> Iterator[Table]:
        from attncli.studies.stats.terminal import metric_tables

        return metric_tables(result, run.info.kinds, by_layer=self.options.by_layer)

    def details(self, result: Statistics, run: Collected) -> Iterator[Table]:
        """Return the tables of layers with all other metrics."""
        from attncli.studies.stats.terminal import other_layer_tables

        return other_layer_tables(result, run.info.kinds) if self.options.by_layer else iter(())
