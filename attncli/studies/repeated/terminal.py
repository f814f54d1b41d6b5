"""Scores on passages that come twice in tables for a person."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from attncli.studies.repeated.result import SCORES, Repeated
from attncli.studies.repeated.series import Series
from attncli.terminal import add_row, blank_table, escaped, three_digits, with_baselines

if TYPE_CHECKING:
    from rich.table import Table

_BEST = 3
_SHUFFLED = "shuffled: the second half in another order; the difference is what the repetition adds"


def repeated_tables(result: Repeated) -> Iterator[Table]:
    """Yield a table of the best heads of each score, with their baselines, and one of the losses of both copies."""
    from rich.text import Text

    table = blank_table(result.title, ["score", "layer.head"], ["value", *result.baselines])
    coords = result.heads[SCORES[0]].coords
    for name in SCORES:
        for row in np.argsort(-result.heads[name].values, kind="stable")[:_BEST].tolist():
            head = f"{coords['layer'][1][row]}.{coords['head'][1][row]}"
            add_row(table, [name, head, *with_baselines(result.heads, result.baselines, name, row)])
    table.caption = Text(_SHUFFLED)
    yield table
    if result.losses is not None:
        means = result.losses.means()
        losses = blank_table("loss of the next token", ["copy"], ["nat per token", "standard deviation"])
        for copy in ("first", "second"):
            add_row(losses, [copy, three_digits(means[copy]), three_digits(means[f"{copy}_std"])])
        yield losses


def series_tables(result: Series) -> Iterator[Table]:
    """Yield a table of the checkpoints: the losses of both copies, and the best head of each score with its value."""
    table = blank_table(result.results[0].title, ["checkpoint"], ["loss of r", "again", *SCORES])
    for row in result.by_step():
        losses = ["-" if row[name] is None else three_digits(row[name]) for name in ("first_loss", "second_loss")]
        best = [f"{row[f'{score}_head']}: {three_digits(row[score])}" for score in SCORES]
        add_row(table, [escaped(row["checkpoint"]), *losses, *best])
    yield table
