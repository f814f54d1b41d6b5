"""Tables of attention between segments for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from attncli.data import Array
from attncli.data.kinds import KNOWN, KindNames
from attncli.terminal import blank_table, escaped, three_digits

if TYPE_CHECKING:
    from rich.table import Table

_MOST_ROWS = 64


def means_tables(table: Mapping[str, Array], kinds: KindNames = KNOWN) -> Iterator[Table]:
    """Yield a table of the means over layers and heads for each kind of attention."""
    from rich.text import Text

    for kind in dict.fromkeys(table["kind"].tolist()):
        title = f"{kinds.attention(kind)} between segments, mean over layers and heads"
        kind_table = blank_table(title, ["from", "to"], ["share", "uniform", "by position", "x uniform"])
        kind_table.add_column("highest", no_wrap=True)
        rows = [row for row in zip(*(column.tolist() for column in table.values()), strict=True) if row[0] == kind]
        for _, query_segment, key_segment, _, mass, uniform, by_position, ratio, top, layer, head in rows[:_MOST_ROWS]:
            highest = f"{top:.3f} in {layer}.{head}" if top == top else ""
            ratio_text = f"{ratio:.2f}" if ratio == ratio else ""
            shares = (f"{mass:.3f}", f"{uniform:.3f}", three_digits(by_position))
            cells = (query_segment, key_segment, *shares, ratio_text, highest)
            kind_table.add_row(*(Text(escaped(cell)) for cell in cells))
        if len(rows) > _MOST_ROWS:
            kind_table.caption = Text(f"{len(rows) - _MOST_ROWS} more in segments-mean.csv")
        yield kind_table
