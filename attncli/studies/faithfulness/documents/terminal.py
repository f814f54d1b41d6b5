"""The tables of a terminal: what the prediction of a text loses without each segment."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from attncli.data.labels import escape_invisible, label
from attncli.studies.faithfulness.documents.result import Documents, RemovalEffects
from attncli.terminal import add_row, blank_table, three_digits

if TYPE_CHECKING:
    from rich.console import RenderableType

_MOST_ROWS, _MOST_REMOVALS, _LONGEST_NAME = 10, 3, 40


def documents_tables(result: Documents) -> Iterator[RenderableType]:
    """Yield the table of the first text."""
    yield _table(result, 0)


def documents_details(result: Documents) -> Iterator[RenderableType]:
    """Yield the tables of all other texts."""
    for number in range(1, len(result.texts)):
        yield _table(result, number)


def _table(result: Documents, number: int) -> RenderableType:
    from rich.text import Text

    text = result.texts[number]
    several = f"text {number}, " if len(result.texts) > 1 else ""
    # three removals with two columns each leave no room for names
    shown = ("left_out", "weight") if len(result.removals) < _MOST_REMOVALS else ("weight",)
    numbers = [f"{name.replace('_', ' ')} {removal}" for removal in result.removals for name in shown]
    prediction = escape_invisible(label(text.prediction, width=_LONGEST_NAME))
    title = f"segments, {several}{prediction}: {result.response} {text.full:.3f}"
    table = blank_table(title, ["segment"], ["attention", "knockout", *numbers])
    values = [text.of(removal) for removal in result.removals]
    weights = np.stack([of["weight"] for of in values])
    for row in np.argsort(-np.abs(weights).max(0), kind="stable")[:_MOST_ROWS].tolist():
        cells = [text.attention[row], text.knockout[row]]
        cells += [of[name][row] for of in values for name in shown]
        add_row(table, [escape_invisible(text.segments[row]), *map(three_digits, cells)])
    fits = [f"{removal} {fit_text(text.removals[removal])}" for removal in result.removals]
    stay = f" Not left out: {', '.join(text.stay)}." if text.stay else ""
    what = "logit of the probability" if result.response == "logit" else "number"
    table.caption = Text(
        f"All but attention: how much the {what} falls without the segment. weight: of a linear model, with "
        f"{'; '.join(fits)}.{escape_invisible(stay)}"
    )
    table.caption_justify = "left"
    return table


def fit_text(effects: RemovalEffects) -> str:
    """Return how well a linear model fits."""
    if np.isnan(effects.r2):
        return "no change"
    held_out = "" if np.isnan(effects.lds) else f", held-out rank correlation {effects.lds:.2f}"
    return f"R² {effects.r2:.2f}{held_out}"
