"""Statistics of all heads in a table for a person: for each metric the mean, and the heads that stand out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table


def summary(document: Mapping[str, Any]) -> Iterator[Table]:
    """One table per kind of attention, from the contents of stats.json."""
    what = "norms" if document.get("by") == "norm" else "attention"
    kinds = list(dict.fromkeys(head["kind"] for head in document["heads"]))
    for kind in kinds:
        heads = [head for head in document["heads"] if head["kind"] == kind]
        yield _table(f"{kind} {what}", heads, document["metrics"])


def _table(what: str, heads: list[Mapping[str, Any]], metrics: Mapping[str, Any]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(f"{what}, {len(heads)} heads"), title_justify="left")
    for name in ("metric", "unit", "mean", "lowest", "highest"):
        table.add_column(name, justify="right" if name == "mean" else "left")
    for name, declared in metrics.items():
        values = [(head[name], _place(head)) for head in heads if head.get(name) is not None]
        if values:
            mean = sum(value for value, _ in values) / len(values)
            low, high = min(values, key=_value), max(values, key=_value)
            row = (name, declared["unit"], f"{mean:z.3f}", _at(low), _at(high))
            table.add_row(*map(Text, row))
    return table


def _value(pair: tuple[float, str]) -> float:
    return pair[0]


def _place(head: Mapping[str, Any]) -> str:
    return f"L{head['layer']} H{head['head']}"


def _at(pair: tuple[float, str]) -> str:
    return f"{pair[0]:z.3f} in {pair[1]}"
