"""The table that a person sees of statistics: which heads stand out, and no zero below zero."""

from __future__ import annotations

import io

from rich.console import Console

from attncli.studies.stats.terminal import summary

HEADS = [
    {"kind": "encoder", "layer": 0, "head": 0, "sink": 0.25, "missing_mass": -2e-8, "offset": None},
    {"kind": "encoder", "layer": 1, "head": 3, "sink": 0.75, "missing_mass": 1e-9, "offset": -1.5},
]
METRICS = {"sink": {"unit": "1"}, "missing_mass": {"unit": "1"}, "offset": {"unit": "tokens"}}


def test_each_metric_has_its_mean_and_the_heads_that_stand_out() -> None:
    console = Console(file=io.StringIO(), width=100)
    for table in summary({"heads": HEADS, "metrics": METRICS}):
        console.print(table)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    sink, missing, offset = (next(line for line in lines if f" {name} " in line) for name in METRICS)
    assert "0.500" in sink
    assert "0.250 in L0 H0" in sink
    assert "0.750 in L1 H3" in sink
    assert "0.000 in L0 H0" in missing
    assert "-0.000" not in missing
    assert offset.count("-1.500") == 3
