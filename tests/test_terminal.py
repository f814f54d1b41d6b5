"""Tables on a terminal of 80 columns, at their widest, and the lines that name their texts."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from cli.test_streams import check_fits
from made_runs import scores
from rich.console import Console

from attncli.data import Text
from attncli.studies.check.result import Checked, HeadOfSuite, Verdict
from attncli.studies.check.terminal import suite_tables, verdict_tables
from attncli.studies.compare.result import Comparison
from attncli.studies.compare.terminal import comparison_tables
from attncli.terminal import blank_table, named_texts, unwrapped

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import RenderableType

FAR = {"kind": ["encoder", "cross", "decoder"], "layer": [11, 31, 47], "head": [11, 31, 15], "texts": [9, 9, 9]}


def seen(shown: Iterable[RenderableType]) -> str:
    """What a terminal of 80 columns shows."""
    console = Console(file=io.StringIO(), width=80)
    for renderable in shown:
        console.print(*unwrapped(renderable), sep="\n")
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_a_comparison_of_all_kinds_with_intervals_fits() -> None:
    distances = scores("distance", [0.83333, 0.00001, 0.5], **FAR)
    values = scores("value", [-0.00012, -999.99, -12345.678], **FAR)
    coords = {name: ("row", entries) for name, (_, entries) in values.coords.items()}
    coords["metric"] = ("row", np.array(["alignment_distance", "entropy_normalized", "effective_keys"], dtype=object))
    values = replace(values, dims=("row",), coords=coords)
    share = replace(values, values=np.array([0.0001, 0.5, 1.0]))
    measures = {**dict.fromkeys(("a", "b", "change", "change_low", "change_high", "effect"), values)}
    result = Comparison(
        dict.fromkeys(("js_distance", "js_low", "js_high", "nearest_distance"), distances),
        {**measures, "p": share, "p_adjusted": share},
    )
    shown = seen(comparison_tables(result))
    check_fits(shown)
    for word in ("alignment_distance", "entropy_normalized", "effective_keys", "-999.99", "-12346", "nearest_distance"):
        assert word in shown


def test_a_check_with_all_columns_fits() -> None:
    head = {"kind": "encoder", "layer": 31, "head": 15}
    words = {"found": 0.12345, "than": 0.54321, "rank": 255.5, "keys": 1024, "chance": 0.001, "p": 0.0001}
    verdicts = (
        Verdict("previous-token attends", "attention", False, 3, "a", "b", text=1, **head, **words),  # type: ignore[arg-type]
        Verdict("entropy_normalized < 0.95", "budget", True, 4, "a", "b", **head, found=-1234.5),  # type: ignore[arg-type]
        Verdict("suite", "suite", True, 5, "a", "b", **head, found=1.0, low=0.76, high=1.0, p=0.0005, chance=0.25),  # type: ignore[arg-type]
        Verdict("baseline", "baseline", False, 6, "a", "b", **head, found=1.0, than=0.5),  # type: ignore[arg-type]
    )
    shown = seen(verdict_tables(Checked(verdicts), {0: Text("One."), 1: Text("Two.", "Three.")}))
    check_fits(shown)
    assert "100% (76%-100%) 25% 0.0005" in " ".join(shown.split())
    cells = ("entropy_normalized", "255.5/1024", "100% (76%-100%)", "1.000, was 0.500", "text: Two. | Three.")
    for cell in cells:
        assert cell in shown
    assert "(text 1)" in " ".join(shown.split())


def test_the_heads_of_a_suite_fit_and_show_the_one_with_the_largest_weight() -> None:
    numbers = {"units": 10, "rate": 0.9, "than_weight": 0.1, "rank": 123.45, "top": 0.125, "rate_choose": 1.0}
    heads = tuple(
        HeadOfSuite("s" * 70, "encoder", 31, number, number == 0, weight=0.5 if number == 30 else 0.1, **numbers)  # type: ignore[arg-type]
        for number in range(32)
    )
    verdict = Verdict("s" * 70, "suite", True, 5, "a", "b", kind="encoder", layer=31, head=0)
    shown = seen(suite_tables(Checked((verdict,), heads=heads)))
    check_fits(shown)
    assert "31.0 (used)" in shown
    assert "31.30" in shown
    assert "31.29" not in shown
    assert not seen(suite_tables(Checked((verdict,), heads=heads[:1]))).strip()


def test_a_long_header_has_several_lines_and_a_long_title_one() -> None:
    table = blank_table("t" * 60, ["word"], ["rank one distance"])
    table.add_row("x", "0.5")
    lines = [line.strip() for line in seen([table]).splitlines()]
    assert lines[:4] == ["t" * 60, "rank one", "word  distance", "──────────────"]


@pytest.mark.parametrize(
    ("texts", "lines"),
    [
        ([Text("One\n two.")], ["text: One two."]),
        ([Text("One.", "Two."), Text("Three.", target="Drei.")], ["text 0: One. | Two.", "text 1: Three. | Drei."]),
        ([Text("", messages=({"role": "user", "content": "Hi"},))], ["text: Hi"]),
        ([Text("")], []),
        ([Text("a")] * 7, [*(f"text {number}: a" for number in range(5)), "and 2 more texts"]),
        ([Text("\x1b[31mred")], ["text: \\x1b[31mred"]),
        ([Text("猫 " * 90)], [f"text: {'猫 ' * 46}…"]),
        ([Text("word " * 40)], [f"text: {'word ' * 27}…"]),
    ],
)
def test_texts_are_named_in_a_line_each(texts: list[Text], lines: list[str]) -> None:
    assert list(named_texts(dict(enumerate(texts)))) == lines
