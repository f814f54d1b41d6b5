"""`attncli stats`: every head by numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attncli.cli._jobs import job_of
from attncli.cli._options import (
    AgainOptions,
    FileOptions,
    InputOptions,
    MeasureOptions,
    ModelOptions,
    SelectionOptions,
    TalkOptions,
    typed,
)
from attncli.cli._summary import summary
from attncli.cli._talk import talking

if TYPE_CHECKING:
    from attncli.pipeline.request import RunOptions


def stats(
    model: ModelOptions,
    texts: InputOptions,
    selection: SelectionOptions,
    files: FileOptions,
    talk: TalkOptions,
    again: AgainOptions,
    measured: MeasureOptions,
) -> None:
    """Measure every head.

    Writes stats.json, stats.csv and an overview picture stats.png. Several texts give the mean over texts, the
    standard deviation and the count. Of maps folded with --aggregate mean the folded map is measured. In a pipe,
    prints stats.csv; with --json stats.json.

    Example: attncli stats --text "The cat sat on the mat." --metric entropy --metric sink
    """
    from attncli.pipeline.jobs import TABLES, chosen, measure
    from attncli.store import json_text, statistics_tables, table_csv

    formats = chosen(files.format, TABLES, ("json", "csv"))
    metrics = [name.strip() for value in measured.metric or ["all"] for name in value.split(",")]
    asked: RunOptions = {"metrics": metrics, "per_query": measured.per_query, "keep_maps": files.save_maps}
    more = {"format": formats, "spread": measured.spread}
    with talking(talk) as say:
        job = job_of("stats", (model, texts, selection, files, again), typed(measured), more, asked)
        statistics, document, done = measure(job, formats, say.track, spread=measured.spread)
        say.notes(done.notes)
        if talk.json:
            say.data(json_text(document))
        elif say.to_person:
            say.show(*summary(document))
            for path in job.folder.written:
                say.wrote(path)
        else:
            say.data(table_csv(statistics_tables(statistics)["stats"]))
