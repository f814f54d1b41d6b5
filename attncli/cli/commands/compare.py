"""`attncli compare`: what is different between two models, two texts or two saved runs, head by head."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from attncli.cli.console import command_console
from attncli.cli.groups.compare import OtherOptions
from attncli.cli.invocations import job_of, load_arguments
from attncli.options import (
    DEFAULT_MODEL,
    ConsoleOptions,
    InputOptions,
    ModelOptions,
    OutputOptions,
    SavedRunOptions,
    SelectionOptions,
    typed,
)
from attncli.errors import UsageError
from attncli.terminal.escape import escaped

if TYPE_CHECKING:
    from rich.table import Table

    from attncli.engine.invocation import Invocation
    from attncli.studies.compare.job import Other
    from attncli.studies.compare.result import Comparison

_MOST_ROWS = 10


def compare(
    model: ModelOptions,
    texts: InputOptions,
    selection: SelectionOptions,
    files: OutputOptions,
    talk: ConsoleOptions,
    other: OtherOptions,
    a: Annotated[
        str | None, typer.Argument(metavar="A", help=f"a model, or a saved run (default: {DEFAULT_MODEL})")
    ] = None,
    b: Annotated[str | None, typer.Argument(metavar="B", help="another one (default: the same as A)")] = None,
) -> None:
    """Compare two models, two texts or two saved runs, head by head.

    Two models read the same texts: base and fine-tuned or with an adapter, two checkpoints (--revision-b), two
    precisions (--dtype-b). One model reads two texts: --text and --against-text. Or two runs that were kept with
    --save-maps.

    For each head: js_distance, how far its map in B is from that in A, beside that of the nearest other head of its
    layer in A; and how each measure changes. From 6 texts on with bootstrap intervals and with p-values of a sign-flip
    test, adjusted over heads after Benjamini and Hochberg. What changes most comes first.

    Writes compare.json, compare.csv (heads), compare-measures.csv and a picture of the differences. In a pipe, prints
    compare.csv; with --json compare.json. Needs SciPy: pip install "attncli[analyses]".

    Example: attncli compare demo:encoder --dtype-b bfloat16 -t One -t Two -t Three -t Four -t Five -t "And six."
    """
    from attncli.engine.invocation import PICTURES, TABLES, choose_formats
    from attncli.store import json_text, table_csv
    from attncli.studies.compare.job import compare_runs

    formats = choose_formats(files.format, (*TABLES, *PICTURES), ("json", "csv", "png"))
    tables, pictures = ([name for name in formats if name in among] for among in (TABLES, PICTURES))
    with command_console(talk) as say:
        _check(model, texts, files, a)
        groups = (model, texts, selection, files)
        job, with_ = _job(a if a is not None else model.model or DEFAULT_MODEL, b, other, groups)
        job = replace(job, more={"b": with_.resolved, "format": formats})
        found, document, done = compare_runs(job, with_, tables, pictures, say.track)
        say.notes(done.notes)
        say.result(
            lambda: json_text(document), lambda: table_csv(found.table()), lambda: _summary(found), job.folder.written
        )


def _check(model: ModelOptions, texts: InputOptions, files: OutputOptions, a: str | None) -> None:
    if a is not None and model.model is not None:
        raise UsageError(f"A is {a} and --model is {model.model}: give one of them")
    if texts.generate:
        raise UsageError("--generate: each side would write a text of its own; write one first and give it with --text")
    if files.save_maps:
        raise UsageError("--save-maps: compare lets maps go text by text; keep them with attncli heatmap --save-maps")


def _job(
    a: str,
    b: str | None,
    other: OtherOptions,
    groups: tuple[ModelOptions, InputOptions, SelectionOptions, OutputOptions],
) -> tuple[Invocation, Other]:
    """The job of A, and what it is compared with."""
    from attncli.engine.collected import open_saved
    from attncli.studies.compare.compute import compared
    from attncli.studies.compare.job import Other

    model, texts, selection, files = groups
    wanted = None if other.metric is None else [name.strip() for value in other.metric for name in value.split(",")]
    asked: Any = {"metrics": compared(wanted)}
    own = {**typed(other), "a": a, **({} if b is None else {"b": b})}
    if _saved(a) != _saved(a if b is None else b):
        raise UsageError("expected two models or two saved runs, got one of each: run the model with --save-maps first")
    if _saved(a):
        if b is None:
            raise UsageError(f"{a} is a saved run, and there is nothing to compare it with: give another one after it")
        if extra := typed(model, texts) | {name: 1 for name in typed(other) if name != "metric"}:
            raise UsageError(f"two saved runs need no model and no text: leave out --{next(iter(extra))}")
        again = SavedRunOptions(from_=a)
        return job_of("compare", (model, texts, selection, files, again), own, {}, asked), Other(open_saved(b))
    if b is None and not (other.dtype_b or other.revision_b or other.against_text):
        raise UsageError("there is nothing to compare with: give B, --dtype-b, --revision-b or --against-text")
    job = job_of("compare", (replace(model, model=a), texts, selection, files, SavedRunOptions()), own, {}, asked)
    second = replace(model, model=b or a, dtype=other.dtype_b or model.dtype, revision=_revision(model, b, other))
    return job, Other(load_arguments(second, job.source["head"]), _against(job, texts, other))  # type: ignore[index]


def _revision(model: ModelOptions, b: str | None, other: OtherOptions) -> str | None:
    """That of B; the revision of A is one of another model where B is another."""
    return other.revision_b if other.revision_b is not None or b is not None else model.revision


def _against(job: Invocation, texts: InputOptions, other: OtherOptions) -> Any:
    from attncli.inputs.texts import parse_texts

    if other.against_text is None:
        return job.texts
    if extra := typed(texts).keys() & {"pair", "target", "file", "chat"}:
        raise UsageError(f"--against-text goes with --text alone: leave out --{min(extra)}")
    if len(other.against_text) != len(job.texts):
        raise UsageError(
            f"{len(job.texts)} --text and {len(other.against_text)} --against-text: give one of these for each of those"
        )
    return tuple(parse_texts(other.against_text))


def _saved(name: str) -> bool:
    """Whether this is a run that was kept, or a file of maps, and no model."""
    path = Path(name)
    return path.is_file() or (path / "manifest.json").is_file()


def _summary(found: Comparison) -> Iterator[Table]:
    """For a person: the heads that differ most, and the largest changes."""
    from rich.table import Table
    from rich.text import Text

    heads, measures = found.table(), found.measures_table()
    several = len(set(heads["kind"].tolist())) > 1
    for title, columns, shown_columns in (
        ("heads that differ most", heads, ("js_distance", "js_low", "js_high", "nearest_distance")),
        (
            "largest changes from A to B",
            measures,
            ("metric", "a", "b", "change", "change_low", "change_high", "p_adjusted"),
        ),
    ):
        table = Table(title=Text(title), title_justify="left")
        table.add_column("head")
        names = [name for name in shown_columns if not _empty(columns[name].tolist()[:_MOST_ROWS])]
        for name in names:
            table.add_column(name, justify="left" if name == "metric" else "right")
        for at in range(min(_MOST_ROWS, len(columns["kind"]))):
            place = f"L{columns['layer'][at]} H{columns['head'][at]}"
            row = [f"{columns['kind'][at]} {place}" if several else place, *(columns[name][at] for name in names)]
            table.add_row(*(Text(_cell(value)) for value in row))
        yield table


def _empty(values: list[Any]) -> bool:
    return all(value != value for value in values)


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return escaped(value)
    return "" if value != value else f"{value:.4f}"
