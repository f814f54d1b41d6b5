"""Degenerate maps go through every command and figure: numbers or "undefined", never a crash."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from conftest import RunCli

NOISE = np.random.default_rng(0)
UNIFORM = np.full((2, 2, 4, 4), 0.25)
DATA = {
    "all equal": UNIFORM,
    "equal up to rounding": UNIFORM * (1 - NOISE.uniform(0, 3e-7, UNIFORM.shape)),
    "all zero": np.zeros((2, 2, 4, 4)),
    "nearly zero": np.full((2, 2, 4, 4), 1e-40),
    "one key": np.eye(4)[np.zeros((2, 2, 4), int)],
    "one head, one token": np.ones((1, 1, 1, 1)),
}
METRICS = "--metric entropy --metric sink --metric diagonal_offset"
COMMANDS = [
    "heatmap",
    "heatmap --log --aggregate mean --aggregate-layers mean",
    f"stats --spread {METRICS}",
    f"stats --profile --top-k 1 {METRICS}",
    "view",
    "highlight --focus all --format html,png",
    "patterns",
    "heads",
    "flow",
    "flow --method flow --focus 0",
    "segments --segments parts.json",
    f"compare {METRICS}",
]
REFUSED = {
    ("heads", "all zero"): "some heads have no row in common",
    ("segments", "one head, one token"): "segment",
}
"""Questions that such maps do not answer."""


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("command", COMMANDS)
def test_degenerate_maps_go_through(command: str, data: str, run_cli: RunCli) -> None:
    np.savez("maps.npz", decoder=DATA[data].astype(np.float32))
    Path("parts.json").write_text(json.dumps({"first": [{"tokens": [0, 1]}]}))
    name, *options = command.split()
    source = ["maps.npz", "maps.npz"] if name == "compare" else ["--from", "maps.npz"]
    done = run_cli(name, *source, "--axes", "layer,head,query,key", *options, "-o", "out")
    if (name, data) in REFUSED:
        assert done.code == 2
        assert REFUSED[name, data] in done.err
        return
    assert done.code == 0, done.err
    assert "defect" not in done.err
    for path in Path("out").glob("*.json"):
        json.loads(path.read_text(encoding="utf-8"), parse_constant=pytest.fail)
