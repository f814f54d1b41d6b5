"""Degenerate maps go through every command and figure: numbers or "undefined", never a crash."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import families
import numpy as np
import pytest
import torch
from families import FAMILIES
from safetensors.torch import load_file, save_file
from transformers import T5Config, T5ForConditionalGeneration

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
    f"stats --spread --profile --top-k 1 {METRICS}",
    "view",
    "highlight --focus all --format html,png",
    "find --query -1 --key 0",
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


def pairs() -> Iterator[Any]:
    """Every command with all data; ordinary runs take each command with one of them, and each of them twice."""
    for number, command in enumerate(COMMANDS):
        for place, data in enumerate(DATA):
            marks = () if place == number % len(DATA) else pytest.mark.real
            yield pytest.param(command, data, marks=marks, id=f"{command}-{data}")


@pytest.mark.parametrize(("command", "data"), [*pairs()])
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


# ------------------------------------------------------------------------------------- models without training

RULES = """
texts: {one: {text: a dog saw the cat because it was tiredTARGET}}
rules:
- {text: one, from: it, to: cat, min: 0.9, kind: encoder, above: permutation 50}
- sink < 0.01
- no head uniform
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, demo_dirs: dict[str, Path]) -> dict[str, Path]:
    """An untrained T5, whose heads are alike in cross-attention, and an encoder whose attention is uniform."""
    folder = tmp_path_factory.mktemp("models")
    family = FAMILIES["t5"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        T5ForConditionalGeneration(T5Config(**family.config)).save_pretrained(folder / "t5")
    families.tiny_tokenizer(family).save_pretrained(folder / "t5")
    shutil.copytree(demo_dirs["encoder"], folder / "uniform")
    path = folder / "uniform" / "model.safetensors"
    weights = {name: weight * (".query." not in name) for name, weight in load_file(path).items()}
    save_file(weights, path, {"format": "pt"})
    return {"t5": folder / "t5", "uniform": folder / "uniform"}


@pytest.mark.parametrize(
    ("model", "command"),
    [
        pytest.param("t5", "heads TEXT", marks=pytest.mark.real),
        ("t5", "patterns TEXT"),
        pytest.param("t5", "flow TEXT", marks=pytest.mark.real),
        pytest.param(
            "t5", "stats --spread --profile TEXT --metric entropy --metric diagonal_offset", marks=pytest.mark.real
        ),
        ("t5", "heatmap TEXT --aggregate mean"),
        ("t5", "check rules.yaml --record --baseline base.json"),
        ("uniform", "check rules.yaml --record --baseline base.json"),
        ("uniform", "patterns --probe repeated --length 4 --seeds 1"),
    ],
)
def test_models_without_training_go_through(model: str, command: str, models: dict[str, Path], run_cli: RunCli) -> None:
    Path("rules.yaml").write_text(RULES.replace("TARGET", ", target: the cat" if model == "t5" else ""))
    name, *options = command.split()
    text = ["-t", "a dog saw the cat", *(["--target", "the cat"] if model == "t5" else [])]
    given = [part for option in options for part in (text if option == "TEXT" else [option])]
    done = run_cli(name, *given, "-m", models[model], "-o", "out")
    assert done.code == (1 if name == "check" else 0), done.err
    assert "defect" not in done.err
    documents = [path for path in Path("out").glob("*.json") if path.name != "manifest.json"]
    assert documents or name == "heatmap"
    for path in documents:
        document = json.loads(path.read_text(encoding="utf-8"), parse_constant=pytest.fail)
        if model == "uniform" and name == "patterns":  # random tokens come twice, so each has 1 copy among 10 tokens
            assert [head["duplicate"] for head in document["heads"]] == [pytest.approx(0.1, abs=1e-6)] * 16
