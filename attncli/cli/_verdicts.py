"""What heads do, in tables for a person."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from attncli.data import CLASS_NUMBERS, SCORES, Kind, Patterns, Repeated, Scores

if TYPE_CHECKING:
    from rich.table import Table

_SOME, _BEST = 10, 3


def verdict_tables(patterns: Patterns) -> Iterator[Table]:
    """The heads of each class with the numbers of the clearest, and how much the heads of each layer differ."""
    for kind in dict.fromkeys(kind for kind, _, _ in patterns.places()):
        yield _classes(patterns, kind)
    yield _layers(patterns)


def probe_tables(found: Repeated) -> Iterator[Table]:
    """The best heads of each score, beside their baselines."""
    title = f"{found.length} random tokens read twice, mean over {len(found.seeds)} seeds"
    table = _table(title, ["score", "layer.head"], ["value", *found.baselines])
    coords = found.heads[SCORES[0]].coords
    for name in SCORES:
        for row in np.argsort(-found.heads[name].values, kind="stable")[:_BEST].tolist():
            place = f"{coords['layer'][1][row]}.{coords['head'][1][row]}"
            _row(table, [name, place, *_beside(found.heads, found.baselines, name, row)])
    yield table


def _classes(patterns: Patterns, kind: Kind) -> Table:
    places = list(patterns.places())
    total = sum(of == kind for of, _, _ in places)
    columns = ["class", "heads", "layer.head, the clearest first", "number"]
    table = _table(f"{kind} attention, {total} heads", columns, ["of the clearest", *patterns.baselines])
    for name, best in patterns.clearest(kind).items():
        rows = [row for row, (of, _, _) in enumerate(places) if of == kind and name in patterns.verdicts[row]]
        rows.sort(key=lambda row: -patterns.verdicts[row][name])
        listed = [f"{places[row][1]}.{places[row][2]}" for row in rows[:_SOME]] + ["…"] * (len(rows) > _SOME)
        number = CLASS_NUMBERS[name]
        beside = _beside(patterns.heads, patterns.baselines, number, best)
        _row(table, [name, str(len(rows)), " ".join(listed), number, *beside])
    return table


def _layers(patterns: Patterns) -> Table:
    names = list(patterns.layers)
    columns = [name.removeprefix("differentiation_").replace("differentiation", "distance") for name in names]
    table = _table("mean distance between the heads of a layer", ["kind", "layer"], columns)
    coords = patterns.layers[names[0]].coords
    for row, (kind, layer) in enumerate(zip(coords["kind"][1], coords["layer"][1], strict=True)):
        _row(table, [kind, str(layer), *(_number(patterns.layers[name].values[row]) for name in names)])
    return table


def _table(title: str, words: Sequence[str], numbers: Sequence[str]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title), title_justify="left")
    for name in words:
        table.add_column(name)
    for name in numbers:
        table.add_column(name, justify="right")
    return table


def _row(table: Table, cells: Sequence[str]) -> None:
    from rich.text import Text

    table.add_row(*map(Text, cells))


def _beside(
    heads: Mapping[str, Scores], baselines: Mapping[str, Mapping[str, Scores]], name: str, row: int
) -> list[str]:
    """A number of a head, and what its baselines give."""
    return [_number(scores[name].values[row]) for scores in (heads, *baselines.values())]


def _number(value: float) -> str:
    return "" if np.isnan(value) else f"{value:z.3f}"
