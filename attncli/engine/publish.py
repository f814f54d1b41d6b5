"""Write the report of a study in all its formats, and the manifest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from attncli.engine.progress import Track, untracked
from attncli.engine.report import Drawing, Formats, Report, Table
from attncli.store import OutputFolder, json_text
from attncli.store.files import make_folder, write_atomic
from attncli.store.tables import write_table
from attncli.vocabulary import PAGE_FORMATS, TABLE_FORMATS


@dataclass(frozen=True, eq=False)
class Published:
    """The files that were written.

    manifest  contents of manifest.json
    notes     notes for the reader
    files     paths in the order of writing, without the manifest
    """

    manifest: Mapping[str, Any]
    notes: tuple[str, ...]
    files: tuple[Path, ...]


def ignore(*_: object) -> None:
    """Do nothing."""


def publish(
    name: str,
    report: Report,
    folder: OutputFolder,
    formats: tuple[str, ...],
    allowed: Formats,
    *,
    track: Track = untracked,
    wrote: Callable[[Path], None] = ignore,
    drew: Callable[[Drawing], None] = ignore,
) -> Published:
    """Write the document, the tables, the drawings and the manifest of a report.

    name   file name of the document
    wrote  called with the path of each drawing
    drew   called with each drawing once it is written
    Raise OutputError if something cannot be written; what was written before stays valid.
    """
    if report.document is not None and "json" in formats:
        folder.write_text(f"{name}.json", json_text(report.document))
    schema = "" if report.document is None else report.document["schema"]
    for format in (format for format in formats if format in TABLE_FORMATS and format != "json"):
        for file_name, columns in report.tables.items():
            table = columns if isinstance(columns, Table) else Table([columns])
            write_table(folder.path_for(f"{file_name}.{format}"), format, table.parts, table.schema or schema)
    for path, data in report.more_files.items():
        make_folder(path.parent)
        write_atomic(path, data)
    _draw(report.drawings, report.info.title, folder, allowed.of_drawings(formats), track, wrote, drew)
    info = replace(report.info, notes=(*report.info.notes, *report.late_notes))
    return Published(folder.finish(info, alone=report.replaces), (*info.notes, *report.notes), folder.written)


def _draw(
    drawings: Iterable[Drawing],
    model: str,
    folder: OutputFolder,
    formats: Iterable[str],
    track: Track,
    wrote: Callable[[Path], None],
    drew: Callable[[Drawing], None],
) -> None:
    # a stream of drawings shows how far the texts are read instead
    counted = track("drawing", len(drawings), "pictures") if isinstance(drawings, Sized) else untracked("", 0, "")
    with counted as advance:
        for drawing in drawings:
            for path in _write_drawing(drawing, model, folder, formats):
                wrote(path)
            drew(drawing)
            advance(1)


def _write_drawing(drawing: Drawing, model: str, folder: OutputFolder, formats: Iterable[str]) -> Iterator[Path]:
    """Write a drawing in all formats that it has; yield the paths."""
    pages = [format for format in formats if format in PAGE_FORMATS] if drawing.html is not None else []
    pictures = [format for format in formats if format not in PAGE_FORMATS]
    figure = drawing.figure() if pictures and drawing.figure is not None else None
    for format in formats:
        if format in pages and drawing.html is not None:
            yield folder.write_text(f"{drawing.name}.{format}", drawing.html())
        elif format in pictures and figure is not None:
            # imported here: matplotlib takes long to load, and not all studies draw
            from attncli.plotting.render import render

            description = drawing.description or f"{model} {drawing.name}"
            yield folder.write_bytes(f"{drawing.name}.{format}", render(figure, format, description=description))
