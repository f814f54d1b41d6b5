"""`attncli heatmap`: what each token looks at, as pictures."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from attncli.cli.console import CommandConsole, command_console
from attncli.cli.groups.by import ByOptions
from attncli.cli.invocations import job_of
from attncli.errors import UsageError, did_you_mean
from attncli.options import (
    SCALES,
    ConsoleOptions,
    InputOptions,
    ModelOptions,
    OutputOptions,
    PictureOptions,
    SavedRunOptions,
    SelectionOptions,
    typed,
)


def heatmap(
    model: ModelOptions,
    texts: InputOptions,
    selection: SelectionOptions,
    files: OutputOptions,
    talk: ConsoleOptions,
    again: SavedRunOptions,
    by: ByOptions,
    shown: PictureOptions,
) -> None:
    """Draw what each token looks at.

    Nothing selected: one page per kind of attention with all layers and heads. A layer: its heads on a page, and
    their mean. A layer and a head: one heatmap. Heads without a layer: a page of these heads in all layers. Files
    are called KIND-grid, KIND-L03-grid, KIND-L03-mean, KIND-L03-H05; with several texts T000-KIND-grid and so on.
    In a pipe, prints the path of each picture.

    A text of any length will do. What has more tokens than --resolution is pooled while it streams by, so that no
    whole map is ever held: cells of equally many tokens, each the mean of the weights of its visible query-key pairs,
    or with --pool max the largest. A page of many heads has no more cells than pixels. --rows and --keys zoom into a
    part of the text.

    Example: attncli heatmap --text "The cat sat on the mat." --layer 1 --head 0
    """
    from attncli.engine.invocation import PICTURES, choose_formats
    from attncli.studies.heatmap.job import draw
    from attncli.studies.heatmap.pictures import Show

    if shown.grid and shown.each:
        raise UsageError("--grid and --each exclude each other: give one of them")
    if shown.scale not in SCALES:
        raise UsageError(f"unknown --scale '{shown.scale}': {did_you_mean(shown.scale, SCALES)}")
    formats = choose_formats(files.format, PICTURES, () if files.format else ("png",))
    with command_console(talk) as say:
        more = asdict(shown) | {"format": formats}
        asked: Any = {name: more.pop(name) for name in ("rows", "keys", "resolution", "pool")} | asdict(by)
        job = job_of("heatmap", (model, texts, selection, files, again), typed(shown, by), more, asked)
        show = Show(
            layered=selection.layer is not None,
            headed=any(_is_number(value) for value in selection.head or ()),
            shape="grid" if shown.grid else "each" if shown.each else "auto",
            log=shown.log,
            scale="panel" if shown.scale == "panel" else "shared",
        )
        done = draw(job, show, formats, say.track, lambda path: _one_path(say, path))
        _tell(say, job.folder.written, done.manifest, done.notes)


def _is_number(value: str) -> bool:
    return value == "all" or not any(character.isalpha() for character in value)


def _one_path(say: CommandConsole, path: object) -> None:
    if not say.to_person and not say.options.json:
        say.data(str(path))


def _tell(say: CommandConsole, written: Any, manifest: Any, notes: Any) -> None:
    from attncli.store import json_text

    say.notes(notes)
    if say.options.json:
        say.data(json_text(manifest))
    for path in written:
        say.wrote(path)
