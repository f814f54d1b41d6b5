"""How true the maps of queries and keys are, in a table for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attncli.data.kinds import KNOWN, KindNames
from attncli.studies.qk_map.head_maps import NEAREST
from attncli.studies.qk_map.result import QueryKeyMap
from attncli.terminal import add_row, blank_table, three_digits

if TYPE_CHECKING:
    from rich.table import Table

_MOST_ROWS = 12


def heads_table(result: QueryKeyMap, kinds: KindNames = KNOWN) -> Table:
    """Return a table of the heads with the truest maps: their numbers, also in all dimensions and by chance."""
    from rich.text import Text

    columns = result.table()
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*(c.tolist() for c in columns.values()), strict=True)]
    rows.sort(key=lambda row: -row["correlation"] if row["correlation"] == row["correlation"] else 2.0)
    several = len(result.groups) > 1
    title = f"maps of queries and keys, {len(rows)} heads" + (", the truest" if len(rows) > _MOST_ROWS else "")
    names = ["rank correlation", "in all dimensions", "random points", "top key near", "in all dimensions", "by chance"]
    table = blank_table(title, [*["kind"] * several, "head"], names)
    table.add_column("map")
    for row in rows[:_MOST_ROWS]:
        numbers = [three_digits(row[name]) for name in result.measures]
        add_row(table, [*[row["kind"]] * several, f"{row['layer']}.{row['head']}", *numbers, row["map"]])
    table.caption = Text(f"{result.advice}\ntop key near: queries whose strongest key is among their {NEAREST} nearest")
    table.caption_justify = "left"
    return table
