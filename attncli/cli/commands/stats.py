"""`attncli stats`: every head by numbers."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from attncli.cli.console import command_console
from attncli.cli.groups.by import ByOptions
from attncli.cli.invocations import job_of
from attncli.errors import UsageError
from attncli.options import (
    ConsoleOptions,
    InputOptions,
    MeasureOptions,
    ModelOptions,
    OutputOptions,
    SavedRunOptions,
    SelectionOptions,
    typed,
)
from attncli.studies.stats.terminal import summary

if TYPE_CHECKING:
    from attncli.engine.request import RunOptions


def stats(
    model: ModelOptions,
    texts: InputOptions,
    selection: SelectionOptions,
    files: OutputOptions,
    talk: ConsoleOptions,
    again: SavedRunOptions,
    by: ByOptions,
    measured: MeasureOptions,
) -> None:
    """Measure every head.

    Writes stats.json, stats.csv and an overview picture stats.png. Several texts give the mean over texts, the
    standard deviation and the count. Of maps combined with --aggregate mean the combined map is measured. In a pipe,
    prints stats.csv; with --json stats.json.

    For long texts, in memory that grows with their length alone: --top-k and --min-weight write the strongest edges
    to edges.parquet; --profile says where attention goes over the whole text: received.csv, sinks.csv, distance.csv,
    ends.csv and pictures (see attncli explain edges.parquet, attncli explain profile).

    Example: attncli stats --text "The cat sat on the mat." --metric entropy --metric sink
    """
    from attncli.engine.invocation import TABLES, choose_formats
    from attncli.store import json_text, statistics_tables, table_csv
    from attncli.studies.stats.job import Report, measure

    formats = choose_formats(files.format, TABLES, ("json", "csv"))
    report = Report(formats, measured.spread, measured.sink_threshold)
    what: Any = by.by
    asked: RunOptions = {**_asked(measured), "keep_maps": files.save_maps, "by": what}
    with command_console(talk) as say:
        groups = (model, texts, selection, files, again)
        job = job_of("stats", groups, typed(measured, by), asdict(report), asked)
        statistics, document, done = measure(job, report, say.track)
        say.notes(done.notes)
        say.result(
            lambda: json_text(document),
            lambda: table_csv(statistics_tables(statistics)["stats"]),
            lambda: summary(document),
            job.folder.written,
        )


def _asked(measured: MeasureOptions) -> RunOptions:
    """What these options ask of the run."""
    from attncli.engine.request import check_share

    given = typed(measured)
    if not measured.profile and (extra := given.keys() & {"ends", "sink-threshold"}):
        raise UsageError(f"--{min(extra)} says how --profile looks, which is not given")
    check_share(given, "sink-threshold")
    return {
        "metrics": [name.strip() for value in measured.metric or ["all"] for name in value.split(",")],
        "per_query": measured.per_query,
        "top_k": measured.top_k,
        "min_weight": measured.min_weight,
        "profile": measured.profile,
        "ends": measured.ends,
    }
