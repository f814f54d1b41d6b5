"""A command on every checkpoint that its --model matches, one after another, and one table of all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from attncli.cli.console import CommandConsole, print_note
from attncli.cli.study_files import StudyFiles
from attncli.data.described import counted
from attncli.engine.checkpoints import Checkpoint
from attncli.engine.publish import Published, publish
from attncli.engine.series import CheckpointRun, CheckpointSeries
from attncli.errors import AttnError, ModelError
from attncli.terminal import add_row, blank_table, escaped, three_digits

if TYPE_CHECKING:
    from rich.table import Table

    from attncli.engine.progress import Track
    from attncli.engine.series_changes import SeriesChange

_MOST_MEASURES = 12
_OF_OTHERS = ("_std", "_low", "_high", "_p", "_p_adjusted", "_share", "_uniform", "_position", "_shuffled")
"""Ends of the names of columns that belong to another measure."""


def run_series(
    series: CheckpointSeries,
    files: StudyFiles,
    anew: bool,
    afterwards: Callable[[Published, CommandConsole], None] | None = None,
) -> None:
    """Run a command on every checkpoint and write the table of all; a checkpoint that cannot be run is left out.

    anew        whether checkpoints that an earlier command has finished are run again
    afterwards  called with the files of the last checkpoint
    """
    console = files.console
    finished = {} if anew else {at.name: run for at in series.checkpoints if (run := series.finished(at)) is not None}
    if finished:
        count = f"{len(finished)} of {counted(len(series.checkpoints), 'checkpoint')}"
        print_note(f"{count} had been finished and are not run again (--force runs all)")
    series.folder.claim()
    errors: list[ModelError] = []
    last: Published | None = None
    for checkpoint in series.checkpoints:
        try:
            run, last = _finished_run(series, checkpoint, finished.get(checkpoint.name), files)
        except ModelError as error:
            errors.append(error)
            print_note(series.leave_out(checkpoint, error))
            continue
        series.add(run)
    if last is None:
        if errors[1:]:
            raise ModelError(f"none of {len(errors)} checkpoints can be run; the first: {errors[0]}") from errors[0]
        raise errors[0]
    _publish(series, files)
    if afterwards is not None:
        afterwards(last, console)


def _finished_run(
    series: CheckpointSeries, checkpoint: Checkpoint, run: CheckpointRun | None, files: StudyFiles
) -> tuple[CheckpointRun, Published]:
    """Return the run on a checkpoint, now unless it is finished, and its files; errors name the checkpoint."""
    if run is not None:
        folder = series.folder.path / checkpoint.name
        paths = tuple(folder / entry["name"] for entry in run.manifest["files"])
        files.print_paths(series.study, [path for path in paths if path.suffix not in (".json", ".safetensors")])
        return run, Published(run.manifest, (), paths)
    study, invocation = series.on(checkpoint)
    try:
        done = files.write(study, invocation, _named(files.console.track, checkpoint.name))
    except ModelError:
        raise
    except AttnError as error:
        raise type(error)(f"at {checkpoint.name}: {error}") from error
    return series.keep(checkpoint, done.report, done.published.manifest), done.published


def _named(track: Track, name: str) -> Track:
    """Return progress whose bars begin with the name of a checkpoint."""

    def named(what: str, total: float, unit: str) -> Any:
        return track(f"{name}: {what}", total, unit)

    return named


def _publish(series: CheckpointSeries, files: StudyFiles) -> None:
    """Write the table of all checkpoints, and print it or what changed most."""
    report, console, study = series.report(), files.console, series.study
    allowed = files.allowed
    published = publish(f"{study.name}-series", report, series.folder, files.formats, allowed, track=console.track)
    console.notes(published.notes)
    if not console.to_person:
        files.print_data(study, report, published)
        return
    if changes := series.changes():
        console.show(_table(changes, series, console.options.verbose), "")
    elif report.tables and len(series.runs) > 1:
        console.show("no row is the same at the first and the last checkpoint, as when these predict other tokens\n")
    for run in series.runs:
        folder = series.folder.path / run.checkpoint.name
        console.wrote(f"{folder}/ ({counted(len(run.manifest['files']), 'file')})")
    for path in published.files:
        if path.parent == series.folder.path:
            console.wrote(path)


def _table(changes: Sequence[SeriesChange], series: CheckpointSeries, verbose: bool) -> Table:
    """Return the table of the largest change of each measure; without `verbose` of the first measures."""
    from rich.text import Text

    first, last = series.runs[0].checkpoint, series.runs[-1].checkpoint
    known = {change.measure for change in changes}
    shown = [change for change in changes if verbose or (change.change and not _belongs(change.measure, known))]
    shown = shown if verbose else shown[:_MOST_MEASURES]
    kinds = {change.row.get("kind") for change in changes}
    title = f"largest change from {escaped(first.name)} to {escaped(last.name)}"
    table = blank_table(title, ["measure", "of"], [escaped(first.label), escaped(last.label), "change"])
    for change in shown:
        numbers = map(three_digits, (change.before, change.after, change.change))
        add_row(table, [change.measure.replace("_", " "), _row_name(change, len(kinds) > 1), *numbers])
    caption = f"of {changes[0].rows} rows, the one with the largest change; of many, one changes by chance"
    if len(shown) < len(changes):
        caption += f"\n{len(shown)} of {len(changes)} columns: --verbose shows all"
    table.caption = Text(caption)
    return table


def _belongs(measure: str, known: set[str]) -> bool:
    """Return whether a column is about another one, such as its standard deviation."""
    return any(measure.endswith(end) and measure.removesuffix(end) in known for end in _OF_OTHERS)


def _row_name(change: SeriesChange, several_kinds: bool) -> str:
    """Return what names a row: the head, such as 1.3, or the entries that tell rows apart."""
    row = change.row
    if row.keys() == {"kind", "layer", "head"}:
        return f"{row['kind']} {row['layer']}.{row['head']}" if several_kinds else f"{row['layer']}.{row['head']}"
    return escaped(", ".join(f"{name} {value}" for name, value in row.items() if value is not None))
