"""`attncli heads`: which heads are alike."""

from __future__ import annotations

from dataclasses import asdict

from attncli.cli.console import command_console
from attncli.cli.groups.heads import GroupingOptions
from attncli.cli.invocations import job_of
from attncli.cli.options import (
    ConsoleOptions,
    InputOptions,
    ModelOptions,
    OutputOptions,
    SavedRunOptions,
    SelectionOptions,
    typed,
)
from attncli.errors import UsageError


def heads(
    model: ModelOptions,
    texts: InputOptions,
    selection: SelectionOptions,
    files: OutputOptions,
    talk: ConsoleOptions,
    again: SavedRunOptions,
    grouped: GroupingOptions,
) -> None:
    """Say which heads are alike.

    The distance between two heads of any layers is the root of the Jensen-Shannon divergence of their rows, the mean
    over rows and texts: from 0 to 0.833; of longer texts 128 evenly spread rows are compared. Close heads are put into
    clusters, and redundant pairs are listed. Beside each distance stands what position alone makes of it, and what it
    is on the same tokens shuffled: heads as close there are alike whatever a text says. Whether the tokens of a layer
    become alike is told by its rows and its hidden states.

    Writes heads.json, heads.csv, heads-pairs.csv, heads-layers.csv (see attncli explain heads.json) and the pictures
    heads-map.png, heads-dendrogram.png, heads-distances.png and heads-layers.png. In a pipe, prints heads.csv; with
    --json heads.json. Needs pip install "attncli[analyses]".

    Example: attncli heads --text "The cat sat on the mat because it was warm." --clusters 4
    """
    from attncli.engine.invocation import PICTURES, TABLES, choose_formats
    from attncli.store import json_text, table_csv
    from attncli.studies.heads.job import Asked, compare_heads
    from attncli.studies.heads.result import ClusterOptions
    from attncli.studies.heads.terminal import heads_tables

    given, own = typed(grouped), asdict(grouped)
    with command_console(talk) as say:
        if {"clusters", "threshold"} <= given.keys():
            raise UsageError("--clusters and --threshold both say how many clusters there are: give one")
        if again.from_ is not None:
            if "shuffle-seeds" in given:
                raise UsageError("--shuffle-seeds runs the model on shuffled tokens, and --from has none: leave it out")
            own["shuffle_seeds"] = 0
        formats = choose_formats(files.format, (*TABLES, *PICTURES), ("json", "csv", "png"))
        tables, pictures = ([name for name in formats if name in among] for among in (TABLES, PICTURES))
        groups = (model, texts, selection, files, again)
        job = job_of("heads", groups, given, {**own, "format": formats}, {})
        seeds = own.pop("shuffle_seeds")
        found, document, done = compare_heads(job, Asked(tables, pictures, ClusterOptions(**own), seeds), say.track)
        say.notes(done.notes)
        say.result(
            lambda: json_text(document),
            lambda: table_csv(found.table()),
            lambda: heads_tables(found),
            job.folder.written,
        )
