"""The strongest heads of `find` in a table for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attncli.data.kinds import KNOWN, KindNames
from attncli.data.labels import escape_invisible
from attncli.studies.find.result import RankedHeads
from attncli.terminal import add_row, blank_table, three_digits

if TYPE_CHECKING:
    from rich.table import Table

_MOST_ROWS = 10


def heads_table(result: RankedHeads, kinds: KindNames = KNOWN) -> Table:
    """Return a table of the heads with the largest weights, with their baselines and the strongest key of their row."""
    from rich.text import Text

    columns = result.table()
    rows = [
        dict(zip(columns, row, strict=True))
        for row in zip(*(column.tolist() for column in columns.values()), strict=True)
    ]
    several_kinds = len(set(columns["kind"].tolist())) > 1
    words = ["kind", "head"] if several_kinds else ["head"]
    of_texts = ["± std"] if result.std is not None else []
    attention = "attention" if several_kinds else kinds.attention(rows[0]["kind"])
    title = f"{attention} from {result.title}"
    copies = ["retrieval"] if "retrieval" in columns else []
    table = blank_table(title, words, ["weight", *of_texts, "uniform", "position", *(copies or ["rank"])])
    shared = kinds.grouped.describe(row["kind"] for row in rows)
    if shared:
        table.add_column("key\nhead", justify="right")
    sides = {kinds.sides(row["kind"])[1] for row in rows}
    table.add_column(f"strongest {sides.pop() if len(sides) == 1 else 'key'}")
    for row in rows[:_MOST_ROWS]:
        names = [str(row["kind"])] if several_kinds else []
        std = [three_digits(row["weight_std"])] if of_texts else []
        weights = [three_digits(row[name]) for name in ("weight_uniform", "weight_positional")]
        cells = [*names, f"{row['layer']}.{row['head']}", three_digits(row["weight"]), *std, *weights]
        number = kinds.grouped.key_value_head(row["kind"], row["layer"], row["head"])
        key_head = ["" if number is None else str(number)] if shared else []
        more = [three_digits(row[name]) for name in copies] or [_rank(row["rank"], row["keys"])]
        add_row(table, [*cells, *more, *key_head, _strongest(row["top"], row["top_weight"], row["top_share"])])
    table.caption = Text("\n".join(filter(None, (result.advice, shared and f"key head: {shared}"))))
    table.caption_justify = "left"
    return table


def _rank(rank: float, keys: float) -> str:
    """Return `2 of 15`, or `2.5 of 15` for a mean or where ties share a rank; "" if the key was never visible."""
    return "" if rank != rank else f"{_short(rank)} of {_short(keys)}"


def _short(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0")


def _strongest(top: str | None, weight: float, share: float) -> str:
    if top is None:
        return ""
    often = "" if share == 1 else f" ({share:.0%})"
    return f"{escape_invisible(top)} {weight:.3f}{often}"
