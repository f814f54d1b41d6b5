"""The table of statistics for a person: means, lowest and highest heads, and no negative zero."""

from __future__ import annotations

import io
import re

import numpy as np
from made_runs import scores
from rich.console import Console

from attncli.data import Statistics
from attncli.studies.stats.terminal import metric_tables

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
