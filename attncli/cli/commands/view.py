"""`attncli view`: every head on one page."""

from __future__ import annotations

import webbrowser
from typing import TYPE_CHECKING

from attncli.cli.console import command_console
from attncli.cli.groups.view import ViewOptions
from attncli.cli.invocations import job_of
from attncli.options import (
    ConsoleOptions,
    InputOptions,
    ModelOptions,
    OutputOptions,
    SavedRunOptions,
    SelectionOptions,
    typed,
)

if TYPE_CHECKING:
    from attncli.engine.request import RunOptions


def view(
    model: ModelOptions,
    texts: InputOptions,
    selection: SelectionOptions,
    files: OutputOptions,
    talk: ConsoleOptions,
    again: SavedRunOptions,
    shown: ViewOptions,
) -> None:
    """Explore every head on one page.

    Writes view.html: all layers and heads as lines, maps, text and numbers, in one file that needs no network and can
    be passed on. --open shows it at once. In a pipe, prints its path.

    Weights are kept in 8 bits, off by less than 1/255 of the largest of their row. What would make the page larger than
    --max-page streams by: the page has the strongest weights of each row and a pooled map, and says so.

    With --neurons the page also has the query and key vectors behind each weight. --save-maps keeps them too.

    Example: attncli view --text "The cat sat on the mat."
    """
    from attncli.engine.invocation import choose_formats
    from attncli.engine.memory import parse_size
    from attncli.store import json_text
    from attncli.studies.view.job import write_page
    from attncli.studies.view.page import MAX_PAGE

    choose_formats(files.format, ("html",), ("html",))
    budget = parse_size(shown.max_page, "--max-page") or MAX_PAGE
    with command_console(talk) as say:
        more = {"max_page": budget}
        job = job_of(
            "view", (model, texts, selection, files, again), typed(shown), more, _asked(selection, again, shown)
        )
        done = write_page(job, budget, say.track)
        say.notes(done.notes)
        (path,) = (path for path in job.folder.written if path.name == "view.html")
        if talk.json:
            say.data(json_text(done.manifest))
        elif not say.to_person:
            say.data(str(path))
        for each in job.folder.written:
            say.wrote(each)
        if shown.open and not webbrowser.open_new_tab(path.resolve().as_uri()):
            say.notes(["there is no browser here that could open it"])


def _asked(selection: SelectionOptions, again: SavedRunOptions, shown: ViewOptions) -> RunOptions:
    """What these options ask of the run; kept maps are measured where they can be."""
    combined = (selection.aggregate, selection.aggregate_layers) != ("none", "none")
    return {
        "rows": shown.rows,
        "keys": shown.keys,
        "neurons": shown.neurons,
        "metrics": None if again.from_ or combined else "all",
    }
