"""Terminal tables of `check`: a row per rule, why rules do not hold, and the best heads of suites."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from attncli.studies.check.result import Checked, Verdict
from attncli.terminal import add_row, blank_table, escaped, named_texts

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from attncli.data import Text as GivenText

_WORDS = ("rule", "holds", "head")
_NUMBERS = ("found", "rank", "chance", "p")
_MOST_HEADS = 10


def verdict_tables(checked: Checked, texts: Mapping[int, GivenText]) -> Iterator[RenderableType]:
    """Yield a table with a row per rule, then for each rule that does not hold what was wanted and what was found.

    texts  the texts of the rules, by number
    """
    from rich.text import Text

    rows = [_cells(verdict, len(texts) > 1 and verdict.sort == "attention") for verdict in checked.verdicts]
    numbers = [name for name in _NUMBERS if any(cells[name] for cells in rows)]
    kept = len(checked.verdicts) - len(checked.failed)
    table = blank_table(f"{kept} of {len(checked.verdicts)} rules hold", _WORDS, numbers)
    for verdict, cells in zip(checked.verdicts, rows, strict=True):
        style = "" if verdict.holds else "red"
        table.add_row(*(Text(escaped(cells[name]), style=style) for name in (*_WORDS, *numbers)))
    yield table
    for verdict in checked.failed:
        yield Text(escaped(f"line {verdict.line}, {verdict.name}: {verdict.why}\n    wanted: {verdict.wanted}"))
        if verdict.text is not None:
            yield from (Text(f"    {line}") for line in named_texts({verdict.text: texts[verdict.text]}))


def suite_tables(checked: Checked) -> Iterator[Table]:
    """Yield for each suite a table of its best heads, and of the one with the largest weight on the target."""
    for verdict in checked.verdicts:
        rows = [row for row in checked.heads if verdict.sort == "suite" and row.suite == verdict.name]
        if len(rows) < 2:
            continue
        largest = max(rows, key=lambda row: row.weight or 0.0)
        shown = [row for row in rows if row in rows[:_MOST_HEADS] or row.used or row is largest]
        halves = ["chose"] if rows[0].rate_choose is not None else []
        title = escaped(verdict.name).replace("\n", " ")
        table = blank_table(title, ["head"], [*halves, "right", "weight", "than", "rank", "top key"])
        for row in shown:
            chose = [_share(row.rate_choose)] if halves else []
            weights = [_number(row.weight), _number(row.than_weight), "" if row.rank is None else f"{row.rank:.1f}"]
            used = " (used)" if row.used else ""
            add_row(table, [f"{row.layer}.{row.head}{used}", *chose, _share(row.rate), *weights, _share(row.top)])
        yield table


def verdict_texts(checked: Checked) -> set[int]:
    """Return the numbers of the texts that rules are about: those of single texts, and those of rules that fail."""
    shown = (verdict for verdict in checked.verdicts if verdict.sort == "attention" or not verdict.holds)
    return {verdict.text for verdict in shown if verdict.text is not None}


def _cells(verdict: Verdict, name_text: bool) -> dict[str, str]:
    """Return the cells of a rule by column; `name_text`: whether to add the number of its text to its name."""
    named = f"{verdict.name} (text {verdict.text})" if name_text else verdict.name
    return {
        "rule": named.replace("\n", " "),
        "holds": "yes" if verdict.holds else "NO",
        "head": "" if verdict.layer is None else f"{verdict.layer}.{verdict.head}",
        "found": _found(verdict),
        "rank": "" if verdict.rank is None else f"{verdict.rank:g}/{verdict.keys}",
        "chance": _share(verdict.chance) if verdict.sort == "suite" else _number(verdict.chance),
        "p": "" if verdict.p is None else f"{verdict.p:.4f}",
    }


def _found(verdict: Verdict) -> str:
    if verdict.sort == "suite":
        return f"{verdict.found:.0%} ({verdict.low:.0%}-{verdict.high:.0%})"
    if verdict.sort == "attention" and verdict.than is not None:
        sign = ">" if (verdict.found or 0) > verdict.than else "≤"
        return f"{_number(verdict.found)} {sign} {_number(verdict.than)}"
    if verdict.sort == "baseline" and verdict.found is not None:
        return f"{_number(verdict.found)}, was {_number(verdict.than)}"
    if verdict.sort == "trend":
        return f"{verdict.found:+.3f}"
    return _number(verdict.found)


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.0%}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:z.3f}"
