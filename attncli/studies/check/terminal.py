"""Terminal tables of `check`: a row per rule, and why rules do not hold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from attncli.studies.check.result import Checked, Verdict
from attncli.terminal import escaped

if TYPE_CHECKING:
    from rich.console import RenderableType

_COLUMNS = ("rule", "holds", "found", "head", "rank", "uniform", "p")
_RIGHT_ALIGNED = ("found", "rank", "uniform", "p")


def verdict_tables(checked: Checked) -> Iterator[RenderableType]:
    """Yield a table with a row per rule, then for each rule that does not hold what was wanted and what was found."""
    from rich.table import Table
    from rich.text import Text

    kept = len(checked.verdicts) - len(checked.failed)
    title = f"{kept} of {len(checked.verdicts)} rules hold"
    table = Table(title=Text(title), title_justify="left")
    for name in _COLUMNS:
        table.add_column(name, justify="right" if name in _RIGHT_ALIGNED else "left", no_wrap=name != "rule")
    for verdict in checked.verdicts:
        style = "" if verdict.holds else "red"
        table.add_row(*(Text(escaped(cell), style=style) for cell in _cells(verdict)))
    yield table
    for verdict in checked.failed:
        yield Text(escaped(f"line {verdict.line}, {verdict.name}: {verdict.why}\n    wanted: {verdict.wanted}"))


def _cells(verdict: Verdict) -> Iterator[str]:
    yield verdict.name.replace("\n", " ")
    yield "yes" if verdict.holds else "NO"
    if verdict.sort == "suite":
        yield f"{verdict.found:.0%} ({verdict.low:.0%}-{verdict.high:.0%})"
    elif verdict.sort == "attention" and verdict.than is not None:
        sign = ">" if (verdict.found or 0) > verdict.than else "≤"
        yield f"{_number(verdict.found)} {sign} {_number(verdict.than)}"
    elif verdict.sort == "baseline" and verdict.found is not None:
        yield f"{_number(verdict.found)}, was {_number(verdict.than)}"
    else:
        yield _number(verdict.found)
    yield "" if verdict.layer is None else f"{verdict.layer}.{verdict.head}"
    yield "" if verdict.rank is None else f"{verdict.rank} of {verdict.keys}"
    yield _number(verdict.chance)
    yield "" if verdict.p is None else f"{verdict.p:.4f}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
