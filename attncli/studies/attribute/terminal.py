"""The tables of `attribute` for the terminal: the tokens that count most, the methods side by side."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from attncli.data.labels import escape_invisible
from attncli.studies.attribute.corpus_result import CorpusAttribution
from attncli.studies.attribute.result import AttributedUnit, Attribution
from attncli.terminal import add_row, blank_table, three_digits

if TYPE_CHECKING:
    from rich.console import RenderableType

_MOST_ROWS, _MOST_OUTPUTS = 10, 6


def attribution_tables(result: Attribution) -> Iterator[RenderableType]:
    """Yield a table for each of the first predictions; the first method gives the order."""
    from rich.text import Text

    for output in range(min(len(result.outputs), _MOST_OUTPUTS)):
        yield _table(result, output)
    if more := len(result.outputs[_MOST_OUTPUTS:]):
        yield Text(f"{more} more predictions are in the files")


def methods_table(result: CorpusAttribution) -> Iterator[RenderableType]:
    """Yield the table of the methods over all texts, and where the values are."""
    from rich.text import Text

    methods = result.table()
    names = {"values": f"{result.unit}s", "all_zero": "all 0", "error": "mean error", "error_max": "largest error"}
    shown = [name for name in ("predictions", "values", "all_zero", "error", "error_max") if name in methods]
    table = blank_table(
        f"{int(methods['texts'][0]):,} texts, {result.explain}", ["method"], [names.get(name, name) for name in shown]
    )
    for row, method in enumerate(methods["method"].tolist()):
        cells = [
            three_digits(float(methods[name][row])) if name.startswith("error") else f"{int(methods[name][row]):,}"
            for name in shown
        ]
        add_row(table, [method, *cells])
    if "error" in methods:
        table.caption = Text("Error: the share of the change of the score that integrated gradients miss")
        table.caption_justify = "left"
    yield table


def _table(result: Attribution, output: int) -> RenderableType:
    from rich.text import Text

    shown, shares = result.outputs[output], np.nan_to_num(result.shared[:, output])
    probability = "" if np.isnan(shown.probability) else f", p = {shown.probability:.3f}"
    title = f"{escape_invisible(shown.name)}: {result.score} {shown.score:.3f}{probability}"
    table = blank_table(title, [result.unit], [method.name.replace("-", " ") for method in result.methods])
    for row in np.argsort(-np.abs(shares[0]), kind="stable")[:_MOST_ROWS].tolist():
        add_row(table, [_name(result, result.units[row]), *map(three_digits, shares[:, row].tolist())])
    table.caption = Text(caption(result, output))
    table.caption_justify = "left"
    return table


def _name(result: Attribution, unit: AttributedUnit) -> str:
    """Return the name of a segment, or a token with its position."""
    name = escape_invisible(unit.name)
    if result.unit == "segment":
        return name
    side = f"{unit.side} " if len(result.tokens) > 1 else ""
    return f"{name} ({side}{unit.positions[0]})"


def caption(result: Attribution, output: int) -> str:
    """Return what the numbers are, and how large the error of integrated gradients is."""
    parts = ["Shares of the sum of absolute values; below 0: against the prediction"]
    if not any(method.signed for method in result.methods):
        parts = ["Shares of the sum of all values"]
    if baselines := {method.baseline for method in result.methods if method.baseline}:
        parts.append(f"Baseline: {', '.join(sorted(baselines))}")
    parts += [
        f"integrated-gradients: {method.steps[output]} steps, change of the score {method.change[output]:.3f}, "
        f"error {method.delta[output]:.2g}"
        for method in result.methods
        if method.steps
    ]
    return ". ".join(parts)
