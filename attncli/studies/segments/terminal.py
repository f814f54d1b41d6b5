"""Tables of attention between segments for the terminal: the heads that attend most, then the means."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attncli.data import Array, Kind
from attncli.data.kinds import KNOWN, KindNames
from attncli.studies.segments.result import Segments
from attncli.terminal import blank_table, escaped, three_digits

if TYPE_CHECKING:
    from rich.table import Table

_MOST_HEADS, _MOST_COPYING, _MOST_MEANS = 10, 5, 24
_SHARES = {"share": "mass", "uniform": "uniform_mass", "position": "positional_mass", "above both": "excess"}
_COPIES = {
    "retrieval": "retrieval",
    "uniform": "retrieval_uniform",
    "position": "retrieval_positional",
    "at most": "retrieval_most",
}


def segments_tables(result: Segments, kinds: KindNames = KNOWN) -> Iterator[Table]:
    """Yield for each kind the heads with the largest share and retrieval score, and the means over layers and heads."""
    for kind in result.kinds:
        first = result.strongest(kind)
        title = f"{kinds.attention(kind)}: heads by share above both baselines"
        yield from _heads_table(first, title, _SHARES, _MOST_HEADS, result)
        if "retrieval" in first:
            copying = result.strongest(kind, "retrieval")
            title = (
                f"{kinds.attention(kind)}: heads by retrieval score, the share of written tokens that are the top key"
            )
            yield from _heads_table(copying, title, _COPIES, _MOST_COPYING, result)
        yield from _means_table(result, kind, first["from"].tolist(), kinds)


def _heads_table(
    table: Mapping[str, Array], title: str, columns: Mapping[str, str], most: int, result: Segments
) -> Iterator[Table]:
    """Yield the first rows of a table of heads; nothing if it is empty."""
    from rich.text import Text

    if not len(table["head"]):
        return
    rows = _rows(table)
    words, one_source = _words_and_source(result, rows)
    heads = blank_table(f"{title}{one_source}", ["head", *words], list(columns))
    for row in rows[:most]:
        names = [f"{row['layer']}.{row['head']}", *(row[axis] for axis in words)]
        numbers = (three_digits(row[name]) for name in columns.values())
        heads.add_row(*(Text(escaped(cell)) for cell in (*names, *numbers)))
    if len(rows) > most:
        heads.caption = Text(f"{len(rows) - most} more in segments.csv")
    yield heads


def _means_table(result: Segments, kind: Kind, sources: Sequence[str], kinds: KindNames) -> Iterator[Table]:
    """Yield the means of a kind over layers and heads, without pairs that no row can see.

    sources  query segments whose means are shown; all if empty
    """
    from rich.text import Text

    rows = [row for row in _rows(result.mean_table()) if row["kind"] == kind and row["uniform_mass"] > 0]
    shown = [row for row in rows if row["from"] in sources] or rows
    if not shown:
        return
    words, one_source = _words_and_source(result, shown)
    title = f"{kinds.attention(kind)} between segments, {result.mean_name}{one_source}"
    means = blank_table(title, words, ["share", "uniform", "position", "x uniform"])
    means.add_column("highest", no_wrap=True)
    for row in shown[:_MOST_MEANS]:
        shares = (three_digits(row[name]) for name in ("mass", "uniform_mass", "positional_mass"))
        highest = f"{row['highest_mass']:.3f} in {row['highest_layer']}.{row['highest_head']}"
        cells = (*(row[axis] for axis in words), *shares, f"{row['ratio']:.2f}", highest)
        means.add_row(*(Text(escaped(cell)) for cell in cells))
    if more := len(rows) - len(shown[:_MOST_MEANS]):
        means.caption = Text(f"{more} more in segments-mean.csv")
    yield means


def _rows(table: Mapping[str, Array]) -> list[dict[str, Any]]:
    columns = (column.tolist() for column in table.values())
    return [dict(zip(table, row, strict=True)) for row in zip(*columns, strict=True)]


def _words_and_source(result: Segments, rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], str]:
    """Return the columns that name segments, and the query segment for the title if all rows have the same."""
    sources = list(dict.fromkeys(row["from"] for row in rows))
    if len(sources) > 1:
        return ["from", "to"], ""
    return ["to"], f", from {escaped(result.described(rows[0]['kind'], sources[0]))}"
