"""How a command writes the files of its study, and what it prints of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic

from attncli.cli.console import CommandConsole, print_note
from attncli.engine.report import Drawing, Formats, Report, Table, with_key_value_heads
from attncli.engine.study import ResultT, Study
from attncli.terminal import named_texts

if TYPE_CHECKING:
    from rich.console import RenderableType

    from attncli.engine.collected import Collected
    from attncli.engine.invocation import Invocation
    from attncli.engine.progress import Track
    from attncli.engine.publish import Published
    from attncli.plotting.picture_style import PictureStyle


@dataclass(frozen=True, eq=False)
class StudyRun(Generic[ResultT]):
    """One run of a study, and what was written of it."""

    run: Collected
    result: ResultT
    report: Report
    published: Published


@dataclass(frozen=True)
class StudyFiles:
    """How the files of a command are written, and where they are announced.

    allowed   all formats that the command may write
    style     how pictures look
    csv_safe  whether the table on stdout has no cells that a spreadsheet would run
    """

    console: CommandConsole
    formats: tuple[str, ...]
    allowed: Formats
    style: PictureStyle | None
    csv_safe: bool

    def write(self, study: Study[ResultT], invocation: Invocation, track: Track) -> StudyRun[ResultT]:
        """Run the study and write its report; print notes, and in a pipe the paths of drawings."""
        # imported here: the help of the command line needs no NumPy
        from attncli.engine.invocation import execute
        from attncli.engine.publish import publish

        def show_drawing(drawing: Drawing) -> None:
            if self.console.to_person and drawing.terminal is not None:
                self.console.show(*drawing.terminal())

        def print_path(path: Path) -> None:
            self.print_paths(study, [path])

        run, result = execute(invocation, study, track, print_note)
        report = with_key_value_heads(study.report(result, run), study.name)
        arguments = (study.name, report, invocation.folder, self.formats, self.allowed)
        published = publish(*arguments, style=self.style, track=track, wrote=print_path, drew=show_drawing)
        self.console.notes(published.notes)
        return StudyRun(run, result, report, published)

    def print_paths(self, study: Study[Any], paths: Iterable[Path]) -> None:
        """Print paths of drawings in a pipe, if they are what the study prints there."""
        if study.prints == "paths" and not self.console.to_person and not self.console.options.json:
            for path in paths:
                self.console.data(str(path))

    def show(self, study: Study[ResultT], done: StudyRun[ResultT]) -> None:
        """Print the tables and `Wrote …` lines for a person, else the document, the manifest or the main table."""
        if self.console.to_person:
            self.console.show(*_tables(study, done, self.console.options.verbose))
            for path in done.published.files:
                self.console.wrote(path)
        else:
            self.print_data(study, done.report, done.published)

    def print_data(self, study: Study[Any], report: Report, published: Published) -> None:
        """Print the JSON document, the manifest or the main table, for a program."""
        from attncli.store import json_text, table_csv

        if self.console.options.json:
            self.console.data(json_text(published.manifest if study.prints == "paths" else report.document or {}))
        elif study.prints == "table":
            main = next(iter(report.tables.values()))
            for number, part in enumerate(main.parts_in("csv") if isinstance(main, Table) else [main]):
                self.console.data(table_csv(part, header=not number, safe=self.csv_safe))


def _tables(study: Study[ResultT], done: StudyRun[ResultT], verbose: bool) -> Iterator[RenderableType]:
    """Yield what a person sees: the texts and the main tables, and with `verbose` the others, else that there are."""
    from rich.table import Table as ShownTable
    from rich.text import Text

    result, run = done.result, done.run
    tables, details = list(study.terminal(result, run)), iter(study.details(result, run))
    if tables:
        yield from map(Text, named_texts(study.shown_texts(result, run)))
    for table in chain(tables, details if verbose else ()):
        yield table
        yield from [""] if isinstance(table, ShownTable) else ()
    if not verbose and next(details, None) is not None:
        yield Text("--verbose shows further tables")
