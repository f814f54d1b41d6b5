"""`attncli segments`: how much attention goes between the parts of a text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attncli.cli.console import command_console
from attncli.cli.groups.segments import SegmentOptions
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
from attncli.errors import UsageError
from attncli.terminal.escape import escaped

if TYPE_CHECKING:
    from rich.table import Table

    from attncli.data import Array
    from attncli.studies.segments.dividing import Dividing

_MOST_ROWS = 64


def segments(
    model: ModelOptions,
    texts: InputOptions,
    selection: SelectionOptions,
    files: OutputOptions,
    talk: ConsoleOptions,
    again: SavedRunOptions,
    divided: SegmentOptions,
) -> None:
    """Measure how much attention goes between the parts of a text.

    The parts are the two texts of --pair, the roles of --chat, what the model wrote with --generate, paragraphs, lines,
    or the passages that --segments names. Special tokens are a part of their own, unless --special drop.

    From a part: the mean over its tokens; to a part: the sum over its keys. Beside each share stands what attention
    spread evenly over the visible keys would give, as long parts get more by their length alone.

    Writes segments.json, segments.csv (every head), segments-mean.csv, a picture of the mean and a page of all heads;
    with --generate also segments-tokens.csv and a picture of what each written token looks at. In a pipe, prints
    segments.csv; with --json segments.json. Memory does not grow with the length of the text.

    Example: attncli segments --text "Who sat on the mat?" --pair "The cat sat on the mat."
    """
    from attncli.engine.invocation import PICTURES, TABLES, choose_formats
    from attncli.store import json_text, table_csv
    from attncli.studies.segments.job import measure_segments

    formats = choose_formats(files.format, (*TABLES, *PICTURES), ("json", "csv", "png"))
    tables, pictures = ([name for name in formats if name in among] for among in (TABLES, PICTURES))
    with command_console(talk) as say:
        dividing, more = _dividing(divided)
        groups = (model, texts, selection, files, again)
        job = job_of("segments", groups, typed(divided), {**more, "format": formats}, {})
        found, document, done = measure_segments(job, dividing, tables, pictures, say.track)
        say.notes(done.notes)
        say.result(
            lambda: json_text(document),
            lambda: table_csv(found.table()),
            lambda: _summary(found.mean_table()),
            job.folder.written,
        )


def _dividing(options: SegmentOptions) -> tuple[Dividing, dict[str, Any]]:
    """How texts are to be divided, and that as plain values."""
    from attncli.inputs.partitions import check_division
    from attncli.inputs.spans_file import read_spans
    from attncli.studies.segments.dividing import Dividing

    check_division(options.by)
    if options.segments is None:
        return Dividing(options.by), {"by": options.by, "segments": None}
    if options.by != "auto":
        raise UsageError(f"--segments says what the segments are, as --by {options.by} does: give one of them")
    spans = read_spans(options.segments)
    plain = [{name: [vars(span) for span in each] for name, each in text.items()} for text in spans]
    return Dividing(spans=spans), {"by": "spans", "segments": plain}


def _summary(table: dict[str, Array]) -> list[Table]:
    """The means in a table for a person, one per kind."""
    from rich.table import Table
    from rich.text import Text

    made = []
    for kind in dict.fromkeys(table["kind"].tolist()):
        titled = Table(title=Text(f"{kind} attention between segments, mean over layers and heads"))
        titled.title_justify = "left"
        for name in ("from", "to", "share", "even", "by position", "times even", "highest"):
            titled.add_column(name, justify="left" if name in ("from", "to", "highest") else "right")
        rows = [row for row in zip(*(each.tolist() for each in table.values()), strict=True) if row[0] == kind]
        for _, from_, to, _, mass, even, position, ratio, top, layer, head in rows[:_MOST_ROWS]:
            times = f"{ratio:.2f}" if ratio == ratio else ""
            by_position = f"{position:.3f}" if position == position else ""
            most = f"{top:.3f} in L{layer} H{head}" if top == top else ""
            cells = (from_, to, f"{mass:.3f}", f"{even:.3f}", by_position, times, most)
            titled.add_row(*(Text(escaped(cell)) for cell in cells))
        if len(rows) > _MOST_ROWS:
            titled.caption = Text(f"{len(rows) - _MOST_ROWS} more in segments-mean.csv")
        made.append(titled)
    return made
