"""Write the report of a study in all its formats, and the manifest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attncli.engine.progress import Track, untracked
from attncli.engine.report import Drawing, Formats, Report, Table
from attncli.store import OutputFolder, json_text
from attncli.store.files import make_folder, output_errors, remove_litter, write_atomic
from attncli.store.tables import write_table
from attncli.vocabulary import PAGE_FORMATS, TABLE_FORMATS

if TYPE_CHECKING:  # matplotlib takes long to load
    from matplotlib.figure import Figure

    from attncli.plotting.picture_style import PictureStyle


@dataclass(frozen=True, eq=False)
class Published:
    """The manifest, the notes for the reader, and the paths of all other files in the order of writing."""

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
    style: PictureStyle | None = None,
    track: Track = untracked,
    wrote: Callable[[Path], None] = ignore,
    drew: Callable[[Drawing], None] = ignore,
) -> Published:
    """Write the document, the tables, the drawings and the manifest of a report.

    name   file name of the document
    style  how pictures look
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
            if table.formats is not None and format not in table.formats:
                continue
            path = folder.path_for(f"{file_name}.{format}")
            write_table(path, format, table.parts_in(format), table.schema or schema, csv_safe=folder.csv_safe)
    for path, data in report.more_files.items():
        make_folder(path.parent)
        remove_litter(path.parent)
        write_atomic(path, data)
    for path in report.outdated:
        with output_errors(path):
            path.unlink(missing_ok=True)
    # a stream of drawings shows how far the texts are read instead
    drawings = report.drawings
    progress = track("drawing", len(drawings), "pictures") if isinstance(drawings, Sized) else untracked("", 0, "")
    with progress as advance:
        for drawing in drawings:
            for path in _write_drawing(drawing, report.info.title, folder, allowed.of_drawings(formats), style):
                wrote(path)
            drew(drawing)
            advance(1)
    info = replace(report.info, notes=(*report.info.notes, *report.late_notes))
    return Published(folder.finish(info, alone=report.replaces), (*info.notes, *report.notes), folder.written)


def _write_drawing(
    drawing: Drawing, model: str, folder: OutputFolder, formats: Iterable[str], style: PictureStyle | None
) -> Iterator[Path]:
    """Write a drawing in all formats that it has; yield the paths."""
    picture_formats = [format for format in formats if format not in PAGE_FORMATS]
    rendered = {} if drawing.figure is None else _rendered(drawing, drawing.figure, model, picture_formats, style)
    for format in formats:
        if format in PAGE_FORMATS and drawing.html is not None:
            yield folder.write_text(f"{drawing.name}.{format}", drawing.html())
        elif format in rendered:
            yield folder.write_bytes(f"{drawing.name}.{format}", rendered[format])


def _rendered(
    drawing: Drawing,
    figure: Callable[[], Figure | None],
    model: str,
    formats: Iterable[str],
    style: PictureStyle | None,
) -> dict[str, bytes]:
    """Return the bytes of a picture in each format; empty if there is nothing to draw."""
    if not formats:
        return {}
    # imported here: matplotlib takes long to load, and not all studies draw
    from attncli.plotting.picture_style import picture_style
    from attncli.plotting.render import render

    description = drawing.description or f"{model} {drawing.name}"
    with picture_style(style):
        drawn = figure()
        return {} if drawn is None else {format: render(drawn, format, description=description) for format in formats}
