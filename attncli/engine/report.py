"""The report of a study: the document, tables, drawings and notes that it will write."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attncli.errors import UsageError, did_you_mean
from attncli.vocabulary import PAGE_FORMATS, PICTURE_FORMATS, TABLE_FORMATS

if TYPE_CHECKING:  # the help of the command line needs no NumPy
    from matplotlib.figure import Figure
    from rich.console import RenderableType

    from attncli.data import Array, RunInfo
    from attncli.engine.collected import Collected

    Columns = Mapping[str, Array]


@dataclass(frozen=True)
class Formats:
    """The file formats of a study.

    allowed   formats that `--format` accepts
    default   formats that are always written
    replaced  whether formats that the user names replace the default
    drawings  formats of drawings that are always written
    """

    allowed: tuple[str, ...] = (*TABLE_FORMATS, *PICTURE_FORMATS)
    default: tuple[str, ...] = ("json", "csv", "png")
    replaced: bool = False
    drawings: tuple[str, ...] = ()

    def choose(self, named: Iterable[str] | None) -> tuple[str, ...]:
        """Return the formats to write for values of `--format`, such as `png,svg`; raise UsageError if unknown."""
        names = _names(named)
        for name in names:
            if name not in self.allowed:
                raise UsageError(f"unknown --format '{name}': {did_you_mean(name, self.allowed)}")
        return tuple(dict.fromkeys([*(() if names and self.replaced else self.default), *names]))

    def without_pictures(self, named: Iterable[str] | None) -> Formats:
        """Return the other formats; raise UsageError if all are pictures, or if a picture is named, as for `choose`."""
        for name in set(_names(named)).intersection(self.allowed, PICTURE_FORMATS):
            raise UsageError(f"--format {name} is a picture: leave it out, or --no-pictures")
        allowed, default, drawings = (
            tuple(name for name in names if name not in PICTURE_FORMATS)
            for names in (self.allowed, self.default, self.drawings)
        )
        if not allowed:
            raise UsageError("--no-pictures leaves nothing to write: this command writes pictures alone")
        return replace(self, allowed=allowed, default=default, drawings=drawings)

    @property
    def draws(self) -> bool:
        """Whether some of the formats are pictures."""
        return any(name in PICTURE_FORMATS for name in (*self.allowed, *self.drawings))

    def of_drawings(self, chosen: Sequence[str]) -> list[str]:
        """Return the formats of drawings among the chosen ones."""
        pictures = (name for name in chosen if name in (*PICTURE_FORMATS, *PAGE_FORMATS))
        return list(dict.fromkeys([*self.drawings, *pictures]))


def _names(named: Iterable[str] | None) -> list[str]:
    return [name.strip() for part in named or () for name in part.split(",")]


@dataclass(frozen=True)
class Table:
    """One table file.

    parts    the columns; a long table comes in several parts with the same columns
    schema   name in the metadata of Parquet files; that of the document if None
    summary  parts of a shorter table, which CSV gets if the whole one is too long for it; None if it is not
    formats  the formats that the table is written in, if they are chosen; None for all
    """

    parts: Iterable[Columns]
    schema: str | None = None
    summary: Iterable[Columns] | None = None
    formats: tuple[str, ...] | None = None

    def parts_in(self, format: str) -> Iterable[Columns]:
        """Return the parts that a file format gets."""
        return self.summary if format == "csv" and self.summary is not None else self.parts


@dataclass(frozen=True)
class Drawing:
    """One picture or page, drawn when it is written.

    name         file name without its suffix
    figure       function that returns the picture, or None if there is nothing to draw; None if there is no picture
    html         function that returns the page; None if there is no page
    description  text in the metadata of pictures; if None, the model and the name
    terminal     function that returns the version for a terminal; None if there is none
    """

    name: str
    figure: Callable[[], Figure | None] | None = None
    html: Callable[[], str] | None = None
    description: str | None = None
    terminal: Callable[[], Iterable[RenderableType]] | None = None


@dataclass(frozen=True)
class Report:
    """Everything that a study writes and prints.

    info        where the results come from, for the manifest
    document    contents of `<name>.json`; None if there is none
    tables      tables by file name; the first is printed in a pipe
    drawings    pictures and pages; made one after another while they are written, so that few are in memory
    notes       notes for the reader, in addition to the notes of `info`
    late_notes  list to which the drawings append notes while they are drawn
    more_files  further files by path, which may be outside the output folder
    outdated    files like these of an earlier run, which are deleted afterwards
    replaces    whether to delete files of an earlier run with the same digest that this run did not write
    """

    info: RunInfo
    document: Mapping[str, Any] | None = None
    tables: Mapping[str, Columns | Table] = field(default_factory=dict)
    drawings: Iterable[Drawing] = ()
    notes: tuple[str, ...] = ()
    late_notes: list[str] = field(default_factory=list)
    more_files: Mapping[Path, bytes] = field(default_factory=dict)
    outdated: tuple[Path, ...] = ()
    replaces: bool = False


def with_key_value_heads(report: Report, main: str) -> Report:
    """Return the report with the column `key_value_head` in its table `main` and in the heads of its document."""
    grouped = report.info.kinds.grouped
    if not grouped.counts:
        return report
    document, table = report.document, report.tables.get(main)
    if document is None or table is None or isinstance(table, Table) or not isinstance(document.get("heads"), list):
        return report
    document = {**document, "heads": [grouped.with_key(head) for head in document["heads"]]}
    return replace(report, tables={**report.tables, main: grouped.with_column(table)}, document=document)


def table_document(name: str, run: Collected, **tables: Columns) -> dict[str, Any]:
    """Return a document: the schema `attncli.<name>/1`, the run and its inputs, and each table as a list of rows.

    tables  columns by key of the document; the inputs are listed for the kinds of attention in the first table
    """
    # imported here: the help of the command line needs no NumPy
    from attncli.store.tables import document_head, records

    head = document_head(f"attncli.{name}/1", run.info, run.inputs, next(iter(tables.values())))
    return {**head, **{key: list(records(columns)) for key, columns in tables.items()}}
