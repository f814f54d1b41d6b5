"""Tables of the classes of heads for the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from attncli.data import Kind
from attncli.data.kinds import KNOWN, KindNames
from attncli.studies.patterns.result import CLASS_NUMBERS, Patterns
from attncli.terminal import add_row, blank_table, three_digits, with_baselines

if TYPE_CHECKING:
    from rich.table import Table

_MOST_HEADS = 10


def patterns_tables(result: Patterns, kinds: KindNames = KNOWN) -> Iterator[Table]:
    """Yield a table of classes for each kind of attention, then a table of distances between heads of each layer."""
    for kind in dict.fromkeys(kind for kind, _, _ in result.head_keys()):
        yield _classes(result, kind, kinds.attention(kind))
    yield _layers(result, kinds)


def _classes(result: Patterns, kind: Kind, attention: str) -> Table:
    """Return a row per class: its heads, its main number, and that number for its strongest head and baselines."""
    keys = result.head_keys()
    total = sum(head_kind == kind for head_kind, _, _ in keys)
    columns = ["class", "heads", "layer.head, strongest first", "number"]
    table = blank_table(f"{attention}, {total} heads", columns, ["of the strongest", *result.baselines])
    for name, strongest in result.strongest(kind).items():
        rows = result.ranked(kind, name)
        heads = [f"{keys[row][1]}.{keys[row][2]}" for row in rows[:_MOST_HEADS]] + ["…"] * (len(rows) > _MOST_HEADS)
        number = CLASS_NUMBERS[name]
        values = with_baselines(result.heads, result.baselines, number, strongest)
        add_row(table, [name, str(len(rows)), " ".join(heads), number, *values])
    return table


def _layers(result: Patterns, kinds: KindNames) -> Table:
    names = list(result.layers)
    columns = [name.removeprefix("differentiation_").replace("differentiation", "distance") for name in names]
    table = blank_table("mean distance between the heads of a layer", [*kinds.columns("kind"), "layer"], columns)
    coords = result.layers[names[0]].coords
    for row, (kind, layer) in enumerate(zip(coords["kind"][1], coords["layer"][1], strict=True)):
        add_row(
            table,
            [*kinds.columns(kind), str(layer), *(three_digits(result.layers[name].values[row]) for name in names)],
        )
    return table
