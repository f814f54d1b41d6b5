"""Tables of the classes of heads for the terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from attncli.data import Kind
from attncli.data.kinds import KNOWN, KindNames
from attncli.studies.patterns.result import CLASS_NUMBERS, Patterns
from attncli.terminal import SHUFFLED, add_row, blank_table, escaped, three_digits, with_baselines

if TYPE_CHECKING:
    from rich.table import Table

_MOST_HEADS = 10


def class_tables(result: Patterns, kinds: KindNames = KNOWN) -> Iterator[Table]:
    """Yield for each kind a row per class: its heads, and the main number of its strongest head with baselines."""
    for kind in dict.fromkeys(kind for kind, _, _ in result.head_keys()):
        yield _classes(result, kind, kinds.attention(kind), kinds.grouped.describe([kind]))


def _classes(result: Patterns, kind: Kind, attention: str, shared: str) -> Table:
    from rich.text import Text

    keys = result.head_keys()
    total = sum(head_kind == kind for head_kind, _, _ in keys)
    columns = ["class", "heads", "strongest heads"]
    baselines = result.defined_baselines()
    table = blank_table(f"{attention}, {total} heads", columns, ["number", *baselines])
    strongest = result.strongest(kind)
    for name, row in strongest.items():
        rows = result.ranked(kind, name)
        heads = [f"{keys[row][1]}.{keys[row][2]}" for row in rows[:_MOST_HEADS]] + ["…"] * (len(rows) > _MOST_HEADS)
        values = with_baselines(result.heads, baselines, CLASS_NUMBERS[name], row)
        add_row(table, [name, str(len(rows)), " ".join(heads), *values])
    numbers = ", ".join(f"{CLASS_NUMBERS[name]} ({name})" for name in strongest)
    lines = [
        f"number of the strongest head: {numbers}" if strongest else "no head has a class",
        *_sink_keys(result, result.ranked(kind, "vertical")),
        *([SHUFFLED] if "shuffled" in baselines else []),
        shared,
    ]
    table.caption = Text("\n".join(filter(None, lines)))
    return table


def _sink_keys(result: Patterns, rows: Sequence[int]) -> Iterator[str]:
    """Yield which keys the vertical heads attend to, the most frequent first."""
    keys = Counter(result.sink_keys[result.head_keys()[row]][0] for row in rows)
    if keys:
        counts = (f"{escaped(name)} ({count})" for name, count in keys.most_common())
        yield f"vertical heads attend to: {', '.join(counts)}"


def layers_table(result: Patterns, kinds: KindNames = KNOWN) -> Table:
    """Return a row per layer: the mean distance between its heads, with baselines, and their mean rigidity."""
    names = [name for name, scores in result.layers.items() if not np.isnan(scores.values).all()]
    names = names or ["differentiation"]
    rigidity = ", and their mean rigidity" * ("rigidity" in names)
    columns = [name.removeprefix("differentiation_").replace("differentiation", "distance") for name in names]
    table = blank_table(
        "mean distance between the heads of a layer" + rigidity, [*kinds.columns("kind"), "layer"], columns
    )
    coords = result.layers[names[0]].coords
    for row, (kind, layer) in enumerate(zip(coords["kind"][1], coords["layer"][1], strict=True)):
        add_row(
            table,
            [*kinds.columns(kind), str(layer), *(three_digits(result.layers[name].values[row]) for name in names)],
        )
    return table
