"""`attncli heatmap`: what each token looks at, as pictures."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from attncli.cli._jobs import job_of
from attncli.cli._options import (
    AgainOptions,
    FileOptions,
    InputOptions,
    ModelOptions,
    SelectionOptions,
    TalkOptions,
)
from attncli.cli._talk import Talk, talking
from attncli.errors import UsageError, did_you_mean

PANEL = "Pictures"
SCALES = ("shared", "panel")


def heatmap(
    model: ModelOptions,
    texts: InputOptions,
    selection: SelectionOptions,
    files: FileOptions,
    talk: TalkOptions,
    again: AgainOptions,
    grid: Annotated[
        bool, typer.Option("--grid", help="one page of all that is selected", rich_help_panel=PANEL)
    ] = False,
    each: Annotated[
        bool, typer.Option("--each", help="one picture for every head that is selected", rich_help_panel=PANEL)
    ] = False,
    log: Annotated[
        bool,
        typer.Option(
            "--log/--linear", help="colours by the logarithm of the weight", rich_help_panel=PANEL, show_default=False
        ),
    ] = False,
    scale: Annotated[
        str,
        typer.Option(
            "--scale",
            metavar="|".join(SCALES),
            help="shared: one colour scale for all of a text and kind; panel: each its own",
            rich_help_panel=PANEL,
            show_default=False,
            autocompletion=lambda: list(SCALES),
        ),
    ] = "shared",
) -> None:
    """Draw what each token looks at.

    Nothing selected: one page per kind of attention with all layers and heads. A layer: its heads on a page, and
    their mean. A layer and a head: one heatmap. Heads without a layer: a page of these heads in all layers. Files
    are called KIND-grid, KIND-L03-grid, KIND-L03-mean, KIND-L03-H05; with several texts T000-KIND-grid and so on.
    In a pipe, prints the path of each picture.

    Example: attncli heatmap --text "The cat sat on the mat." --layer 1 --head 0
    """
    from attncli.pipeline.jobs import PICTURES, chosen, draw
    from attncli.pipeline.pictures import Show

    if grid and each:
        raise UsageError("--grid and --each exclude each other: give one of them")
    if scale not in SCALES:
        raise UsageError(f"unknown --scale '{scale}': {did_you_mean(scale, SCALES)}")
    formats = chosen(files.format, PICTURES, () if files.format else ("png",))
    more: dict[str, Any] = {"grid": grid, "each": each, "log": log, "scale": scale, "format": formats}
    with talking(talk) as say:
        job = job_of("heatmap", model, texts, selection, files, again, more, {})
        show = Show(
            layered=job.request.choice.layers is not None or selection.layer is not None,
            headed=any(_is_number(value) for value in selection.head or ()),
            shape="grid" if grid else "each" if each else "auto",
            log=log,
            scale="panel" if scale == "panel" else "shared",
        )
        done = draw(job, show, formats, say.track("drawing"), lambda path: _one_path(say, path))
        _tell(say, job.folder.written, done.manifest, done.notes)


def _is_number(value: str) -> bool:
    return value == "all" or not any(character.isalpha() for character in value)


def _one_path(say: Talk, path: object) -> None:
    if not say.to_person and not say.options.json:
        say.data(str(path))


def _tell(say: Talk, written: Any, manifest: Any, notes: Any) -> None:
    from attncli.store import json_text

    for note in notes:
        say.note(note)
    if say.options.json:
        say.data(json_text(manifest))
    for path in written:
        say.wrote(path)
