"""Tables of `stats` for a person: for each metric the mean over heads, and the lowest and the highest head.

Positions are categories: a line below the table says which is the most frequent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from attncli.data import Array, Scores, Statistics
from attncli.data.described import counted
from attncli.data.kinds import KNOWN, KindNames
from attncli.data.modes import most_frequent
from attncli.data.results import without_noise
from attncli.engine.measuring import categories
from attncli.terminal import add_row, blank_table, three_digits

if TYPE_CHECKING:
    from rich.table import Table


LAYER_METRICS = ("entropy_normalized", "distance_ratio", "sink", "diagonal", "special_mass")
"""Metrics of the table of layers; the others are in the tables of --verbose."""
_METRICS_PER_TABLE = 4


def metric_tables(statistics: Statistics, kinds: KindNames = KNOWN, *, by_layer: bool = False) -> Iterator[Table]:
    """Yield one table per kind of attention; with `by_layer` also one of the layers with the main metrics."""
    from rich.text import Text

    norms = " by norms" if statistics.by == "norm" else ""
    first = next(iter(statistics.heads.values()), None)
    for kind in () if first is None else dict.fromkeys(first.coords["kind"][1].tolist()):
        table = _kind_table(
            kinds.attention(kind) + norms, [scores.sel(kind=kind) for scores in statistics.heads.values()]
        )
        if shared := kinds.grouped.describe([kind]):
            table.caption = Text(shared)
        yield table
    yield from layer_tables(statistics, _main_metrics(statistics), kinds) if by_layer else ()


def other_layer_tables(statistics: Statistics, kinds: KindNames = KNOWN) -> Iterator[Table]:
    """Yield the tables of layers with the metrics that `metric_tables` leaves out, a few in each."""
    main = _main_metrics(statistics)
    yield from layer_tables(statistics, [name for name in statistics.heads if name not in main], kinds)


def _main_metrics(statistics: Statistics) -> list[str]:
    main = [name for name in LAYER_METRICS if name in statistics.heads]
    return (main or list(statistics.heads))[:_METRICS_PER_TABLE]


def layer_tables(statistics: Statistics, metrics: Sequence[str], kinds: KindNames = KNOWN) -> Iterator[Table]:
    """Yield tables with a row per layer: mean ± standard deviation over heads, or the most frequent position."""
    columns = statistics.layers_table()
    for kind in dict.fromkeys(columns["kind"].tolist()) if columns else ():
        rows = np.flatnonzero(columns["kind"] == kind).tolist()
        defined = [name for name in metrics if np.isfinite(columns[name][rows]).any()]
        for start in range(0, len(defined), _METRICS_PER_TABLE):
            names = defined[start : start + _METRICS_PER_TABLE]
            table = blank_table(f"{kinds.attention(kind)} by layer, over heads", [], ["layer", *names])
            for row in rows:
                cells = [_summary(columns, name, row) for name in names]
                add_row(table, [str(columns["layer"][row]), *cells])
            yield table


def _summary(columns: Mapping[str, Array], name: str, row: int) -> str:
    """Return `1.93 ± 0.42`, `0 (75%)` for a position, or "" if it is undefined."""
    if not np.isfinite(columns[name][row]):
        return ""
    if (share := f"{name}_share") in columns:
        return f"{columns[name][row]:g} ({columns[share][row]:.0%})"
    return f"{three_digits(columns[name][row])} ± {three_digits(columns[f'{name}_std'][row])}"


def _kind_table(title: str, metrics: list[Scores]) -> Table:
    from rich.text import Text

    table = blank_table(f"{title}, {len(metrics[0].values)} heads", ["metric", "unit"], ["mean", "lowest"])
    table.add_column("head")
    table.add_column("highest", justify="right")
    table.add_column("head")
    positions = []
    for scores in metrics:
        if scores.metric in categories():
            positions.append(_most_frequent(scores))
            continue
        values = without_noise(scores.values)
        numbers = values[np.isfinite(values)]
        if len(numbers):
            ends = (np.flatnonzero(values == end)[0] for end in (numbers.min(), numbers.max()))
            # heads that are all equal have no lowest and no highest one
            cells = ((three_digits(values[row]), _head(scores, row) if np.ptp(numbers) else "") for row in ends)
            add_row(table, [scores.metric, scores.unit, three_digits(numbers.mean()), *chain(*cells)])
    if any(positions):
        table.caption = Text(", ".join(filter(None, positions)))
    return table


def _most_frequent(scores: Scores) -> str:
    """Return the most frequent position and the number of heads that have it; an empty text if it is undefined."""
    position = float(most_frequent(scores.values))
    if np.isnan(position):
        return ""
    heads = counted(int((scores.values == position).sum()), "head")
    return f"{scores.metric}: {position:g} in {heads}"


def _head(scores: Scores, row: int) -> str:
    return f"{scores.coords['layer'][1][row]}.{scores.coords['head'][1][row]}"
