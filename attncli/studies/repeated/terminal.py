"""Scores on repeated random tokens in a table for a person."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from attncli.studies.repeated.result import SCORES, Repeated
from attncli.terminal import add_row, blank_table, with_baselines

if TYPE_CHECKING:
    from rich.table import Table

_BEST = 3


def repeated_tables(result: Repeated) -> Iterator[Table]:
    """Yield a table of the best heads of each score, with their baselines."""
    title = f"{result.length} random tokens read twice, mean over {len(result.seeds)} seeds"
    table = blank_table(title, ["score", "layer.head"], ["value", *result.baselines])
    coords = result.heads[SCORES[0]].coords
    for name in SCORES:
        for row in np.argsort(-result.heads[name].values, kind="stable")[:_BEST].tolist():
            head = f"{coords['layer'][1][row]}.{coords['head'][1][row]}"
            add_row(table, [name, head, *with_baselines(result.heads, result.baselines, name, row)])
    yield table
