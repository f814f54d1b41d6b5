"""What heads do, in tables for a person."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from attncli.data import Kind, Scores
from attncli.studies.patterns.result import CLASS_NUMBERS, Patterns
from attncli.studies.repeated.result import SCORES, Repeated
from attncli.terminal.tables import add_row, blank_table, three_digits

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
    table = blank_table(title, ["score", "layer.head"], ["value", *found.baselines])
    coords = found.heads[SCORES[0]].coords
    for name in SCORES:
        for row in np.argsort(-found.heads[name].values, kind="stable")[:_BEST].tolist():
            place = f"{coords['layer'][1][row]}.{coords['head'][1][row]}"
            add_row(table, [name, place, *_beside(found.heads, found.baselines, name, row)])
    yield table


def _classes(patterns: Patterns, kind: Kind) -> Table:
    places = list(patterns.places())
    total = sum(of == kind for of, _, _ in places)
    columns = ["class", "heads", "layer.head, the clearest first", "number"]
    table = blank_table(f"{kind} attention, {total} heads", columns, ["of the clearest", *patterns.baselines])
    for name, best in patterns.clearest(kind).items():
        rows = [row for row, (of, _, _) in enumerate(places) if of == kind and name in patterns.verdicts[row]]
        rows.sort(key=lambda row: -patterns.verdicts[row][name])
        listed = [f"{places[row][1]}.{places[row][2]}" for row in rows[:_SOME]] + ["…"] * (len(rows) > _SOME)
        number = CLASS_NUMBERS[name]
        beside = _beside(patterns.heads, patterns.baselines, number, best)
        add_row(table, [name, str(len(rows)), " ".join(listed), number, *beside])
    return table


def _layers(patterns: Patterns) -> Table:
    names = list(patterns.layers)
    columns = [name.removeprefix("differentiation_").replace("differentiation", "distance") for name in names]
    table = blank_table("mean distance between the heads of a layer", ["kind", "layer"], columns)
    coords = patterns.layers[names[0]].coords
    for row, (kind, layer) in enumerate(zip(coords["kind"][1], coords["layer"][1], strict=True)):
        add_row(table, [kind, str(layer), *(three_digits(patterns.layers[name].values[row]) for name in names)])
    return table


def _beside(
    heads: Mapping[str, Scores], baselines: Mapping[str, Mapping[str, Scores]], name: str, row: int
) -> list[str]:
    """A number of a head, and what its baselines give."""
    return [three_digits(scores[name].values[row]) for scores in (heads, *baselines.values())]
