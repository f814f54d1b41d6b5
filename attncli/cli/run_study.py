"""Run a study as a command: the whole body of most command files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attncli.cli.console import CommandConsole, command_console
from attncli.cli.invocations import CommonOptions, invocation_of
from attncli.engine.report import Drawing, Report, Table
from attncli.engine.study import ResultT, Study

if TYPE_CHECKING:
    from rich.console import RenderableType

    from attncli.data import Text
    from attncli.engine.publish import Published


def run_study(
    study: Study[ResultT],
    common: CommonOptions,
    texts: Sequence[Text] | None = None,
    afterwards: Callable[[Published, CommandConsole], None] | None = None,
) -> ResultT:
    """Run a study on what the options say, write its report, and print what was asked for; return its result.

    texts       the texts, if they have been read already
    afterwards  called when everything is written and printed
    """
    # imported here: the help of the command line needs no NumPy
    from attncli.engine.invocation import execute
    from attncli.engine.publish import publish

    with command_console(common.console) as console:
        study = study.adapt(common.selection, common.saved.from_ is not None)
        formats = study.formats.choose(common.output.format)
        invocation = invocation_of(study, common, formats, texts if study.reads else ())
        run, result = execute(invocation, study, console.track)
        report = study.report(result, run)
        published = publish(
            *(study.name, report, invocation.folder, formats, study.formats),
            track=console.track,
            wrote=lambda path: _print_path(console, study, path),
            drew=lambda drawing: _show_drawing(console, drawing),
        )
        console.notes(published.notes)
        _print_result(console, study, report, published, lambda: study.terminal(result, run))
        if afterwards is not None:
            afterwards(published, console)
    return result


def _print_path(console: CommandConsole, study: Study[Any], path: Path) -> None:
    if study.prints == "paths" and not console.to_person and not console.options.json:
        console.data(str(path))


def _show_drawing(console: CommandConsole, drawing: Drawing) -> None:
    if console.to_person and drawing.terminal is not None:
        console.show(*drawing.terminal())


def _print_result(
    console: CommandConsole,
    study: Study[Any],
    report: Report,
    published: Published,
    tables: Callable[[], Iterable[RenderableType]],
) -> None:
    """Print the JSON document or the manifest, tables and `Wrote …` lines for a person, or the main table."""
    from attncli.store import json_text, table_csv

    if console.options.json:
        console.data(json_text(published.manifest if study.prints == "paths" else report.document or {}))
    elif console.to_person:
        console.show(*tables())
        for path in published.files:
            console.wrote(path)
    elif study.prints == "table":
        main = next(iter(report.tables.values()))
        for number, part in enumerate(main.parts if isinstance(main, Table) else [main]):
            console.data(table_csv(part, header=not number))
