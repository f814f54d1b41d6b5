"""The table of statistics for a person: means, lowest and highest heads, and no negative zero."""

from __future__ import annotations

import io
import re

import numpy as np
from made_runs import scores
from rich.console import Console

from attncli.data import Statistics
from attncli.studies.stats.terminal import metric_tables, other_layer_tables
from attncli.terminal import unwrapped

HEADS = {"kind": ["encoder", "encoder"], "layer": [0, 1], "head": [0, 3]}
VALUES = {"sink": [0.25, 0.75], "missing_mass": [-2e-8, 1e-9], "offset": [np.nan, -1.5]}


def test_each_metric_has_its_mean_and_the_lowest_and_highest_head() -> None:
    console = Console(file=io.StringIO(), width=100)
    statistics = Statistics({name: scores(name, values, **HEADS) for name, values in VALUES.items()})
    for table in metric_tables(statistics):
        console.print(table)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert lines[0].strip() == "encoder attention, 2 heads"
    sink, missing, offset = (next(line for line in lines if line.startswith(f"{name} ")) for name in VALUES)
    assert re.search(r" 0\.500 +0\.250  0\.0 +0\.750  1\.3", sink)
    assert re.search(r" nat +0\.000 +0\.000 +0\.000$", missing.rstrip()), "heads that differ by rounding are equal"
    assert offset.count("-1.500") == 3


def test_layers_have_mean_and_deviation_over_heads_and_the_most_frequent_position() -> None:
    heads = {"kind": ["encoder"] * 4, "layer": [0, 0, 0, 1], "head": [0, 1, 2, 0]}
    heads |= {"texts": [1] * 4, "queries": [5] * 4}
    values = {
        "sink": [0.25, 0.75, np.nan, np.nan],
        "offset": [-1.0, 1.0, 3.0, 2.0],
        "sink_position": [2.0, 0.0, 0.0, 3.0],
    }
    statistics = Statistics({name: scores(name, numbers, **heads) for name, numbers in values.items()})
    console = Console(file=io.StringIO(), width=80)
    _, *shown = metric_tables(statistics, by_layer=True)
    for table in (*shown, *other_layer_tables(statistics)):
        console.print(*unwrapped(table), sep="\n")
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert text.count("encoder attention by layer, over heads") == 2
    assert re.search(r"layer +sink\n.*\n *0 +0\.500 ± 0\.250\n *1 +\n", text)
    assert re.search(
        r"layer +offset +sink_position\n.*\n *0 +1\.000 ± 1\.633 +0 \(67%\)\n *1 +2\.000 ± 0\.000 +3 \(100%\)", text
    )


def test_positions_have_no_mean_over_heads() -> None:
    console = Console(file=io.StringIO(), width=100)
    heads = {"kind": ["encoder"] * 3, "layer": [0, 0, 1], "head": [0, 1, 0]}
    values = {"sink": [0.2, 0.4, 0.6], "sink_position": [0.0, 7.0, 7.0], "diagonal_offset": [np.nan] * 3}
    for table in metric_tables(
        Statistics({name: scores(name, of_heads, **heads) for name, of_heads in values.items()})
    ):
        console.print(table, table.caption)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "sink_position: 7 in 2 heads" in shown
    assert "4.667" not in shown
    assert "diagonal_offset" not in shown
