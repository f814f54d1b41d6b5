"""The table of `find` for a person: it fits 80 columns, says what was searched, and shows no control characters."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hostile import HOSTILE
from rich.console import Console

from attncli.data import Tokens
from attncli.studies.find.result import QUESTIONS, HeadRow, LeaveOneOut, RankedHeads, head_scores
from attncli.studies.find.terminal import heads_table


def ranked(kinds: list[str], *, texts: int = 1, top: str = "animal", query: str = "it") -> RankedHeads:
    count = len(kinds)
    columns = {"kind": np.array(kinds, object), "layer": np.arange(count), "head": np.full(count, 11)}
    coords = {name: ("head", column) for name, column in columns.items()}
    coords |= {"texts": ("head", np.full(count, texts)), "queries": ("head", np.full(count, texts))}
    values = dict.fromkeys(QUESTIONS, np.linspace(0.9, 0.1, count)) | {"rank": np.full(count, 1.5)}
    values |= {"keys": np.full(count, 16.0), "weight_positional": np.full(count, np.nan)}
    row = HeadRow("encoder", 0, 11, 0, np.ones(2), Tokens.plain(["a", "b"]), (0,), (1,))
    std, leave_one_out = (np.full(count, 0.1), LeaveOneOut(0.5, 2, texts)) if texts > 1 else (None, None)
    scores = head_scores(values, coords)
    return RankedHeads(query, "animal", scores, std, np.array([top] * count, object), leave_one_out, row, {})


def printed(result: RankedHeads) -> str:
    console = Console(file=io.StringIO(), width=80)
    console.print(heads_table(result))
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


def test_the_strongest_heads_with_their_ranks() -> None:
    lines = printed(ranked(["encoder"] * 12)).splitlines()
    assert lines[0].strip() == "encoder attention from 'it' to 'animal'"
    assert [line.split()[0] for line in lines[3:13]] == [f"{n}.11" for n in range(10)]
    assert "1.5 of 16" in lines[3]
    assert "animal 0.900 (90%)" in lines[3]
    assert "0.11 is the best of 12 heads that were searched" in " ".join(" ".join(lines).split())


def test_several_kinds_and_texts_fit_80_columns() -> None:
    text = printed(ranked(["encoder", "cross"], texts=3))
    assert "attention from 'it' to 'animal'" in text
    assert "…" not in text
    shown = " ".join(text.split())
    assert "± std" in shown
    assert "gives 0.500 on average; it is 0.11 for 2 of 3 texts" in shown


@pytest.mark.parametrize("token", HOSTILE)
def test_hostile_tokens_are_text(token: str) -> None:
    text = printed(ranked(["encoder"], top=token, query=token))
    assert all(char.isprintable() or char in "\n\u200d" for char in text)
