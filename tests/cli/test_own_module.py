"""`--module` and `--inputs`: a module of the user's own code in the place of a model and a text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import attncli

CODE = """
import torch
from torch import nn

print("importing")

def build():
    torch.manual_seed(0)
    return nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 1)

class Group:
    ready = build()

def fails():
    raise ValueError("no weights\\nsecond line")

def ends():
    raise SystemExit(3)

class Breaks(nn.Module):
    def forward(self, x):
        raise RuntimeError("broken")

number = 5
plain = nn.Linear(8, 8)
"""
NAMES = ["age", "income", "height", "weight"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    (folder / "my_package").mkdir()
    (folder / "my_package" / "module.py").write_text(CODE, "utf-8")
    (folder / "my_package" / "wrong.py").write_text("import no_such_package", "utf-8")
    x = np.random.default_rng(0).normal(size=(1, 4, 8))
    np.savez(folder / "batch.npz", src=x.astype(np.float32))
    np.save(folder / "one.npy", x.astype(np.float32))
    np.savez(folder / "double.npz", src=x)
    np.savez(folder / "nan.npz", src=x.astype(np.float32) * np.nan)
    np.savez(folder / "other.npz", size=x.astype(np.float32), src=x.astype(np.float32))
    np.savez(folder / "pickled.npz", src=np.array([{}], object))
    (folder / "names.txt").write_text("\n".join(NAMES), "utf-8")
    return folder


@pytest.fixture(autouse=True)
def inside(run_cli: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)  # `run_cli` has an empty folder of its own


def test_stats_of_a_module(run_cli: Any, folder: Path) -> None:
    options = ["--metric", "entropy", "--no-pictures", "--per-query"]
    done = run_cli(
        "stats",
        "--module",
        "my_package.module:build",
        "--inputs",
        "batch.npz",
        "--labels",
        "names.txt",
        *options,
        "--json",
    )
    assert done.code == 0, done.err
    document = json.loads(done.out)
    assert document["run"]["model"] == "my_package.module:build"
    assert document["run"]["class"] == "TransformerEncoder"
    assert document["inputs"][0]["queries"] == NAMES
    torch.manual_seed(0)
    module = torch.nn.TransformerEncoder(torch.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 1)
    run = attncli.capture(module, torch.from_numpy(np.load("one.npy")))
    expected = run.stats("entropy").to_frame()["entropy"]
    np.testing.assert_allclose([row["entropy"] for row in document["heads"]], expected, atol=1e-6)
    assert "importing" in done.err


def test_pictures_and_pages_of_a_module(run_cli: Any, tmp_path: Path) -> None:
    own = ["--module", "my_package.module:Group.ready", "--inputs", "one.npy", "--labels", "names.txt"]
    done = run_cli("heatmap", *own, "-l", "0", "-H", "1", "--out", str(tmp_path / "a"))
    assert done.out.splitlines() == [str(tmp_path / "a" / "encoder-L00-H01.png")]
    done = run_cli("view", *own, "--out", str(tmp_path / "b"))
    assert (done.code, "income" in (tmp_path / "b" / "view.html").read_text("utf-8")) == (0, True)


WRONG = [
    ("my_package.module:nope", "batch.npz", 2, "my_package.module has no 'nope': known are: "),
    ("my_package.module:biuld", "batch.npz", 2, "did you mean 'build'?"),
    ("my_package.nothing:build", "batch.npz", 2, "there is no Python module 'my_package.nothing' here or among"),
    (
        "my_package.wrong:build",
        "batch.npz",
        2,
        "importing my_package.wrong fails: ModuleNotFoundError: No module named",
    ),
    ("my_package.module", "batch.npz", 2, "expected --module like package.mod:build, got 'my_package.module'"),
    ("my_package.module:fails", "batch.npz", 2, "my_package.module:fails fails: ValueError: no weights"),
    ("my_package.module:ends", "batch.npz", 2, "my_package.module:ends ends the program (exit code 3)"),
    ("my_package.module:number", "batch.npz", 2, "my_package.module:number is of type int, expected a torch.nn.Module"),
    ("my_package.module:dict", "batch.npz", 2, "my_package.module has no 'dict'"),
    (
        "my_package.module:Group",
        "batch.npz",
        2,
        "my_package.module:Group returned a value of type Group, expected a torch.nn.Module",
    ),
    ("my_package.module:plain", "one.npy", 3, "Linear has no softmax attention"),
    ("my_package.module:Breaks", "one.npy", 3, "Breaks fails on these inputs: RuntimeError: broken"),
    ("my_package.module:build", "double.npz", 3, "src is float64, the weights are float32: give the inputs as float32"),
    ("my_package.module:build", "other.npz", 2, "TransformerEncoder reads no input 'size': it reads src, mask"),
    ("my_package.module:build", "nan.npz", 2, "src has NaN or infinite numbers at 32 of 32 positions"),
    ("my_package.module:build", "pickled.npz", 2, "expected plain numbers, no pickles"),
    ("my_package.module:build", "none.npz", 2, "no such file: none.npz"),
    (
        "my_package.module:build",
        "names.txt",
        2,
        "expected --inputs as a .npz, .npy or .safetensors file, got names.txt",
    ),
]


@pytest.mark.parametrize(("module", "inputs", "code", "message"), WRONG)
def test_wrong_input_is_one_line(run_cli: Any, module: str, inputs: str, code: int, message: str) -> None:
    done = run_cli("stats", "--module", module, "--inputs", inputs)
    errors = [line for line in done.err.splitlines() if line != "importing"]
    assert (done.code, done.out, len(errors)) == (code, "", 1)
    assert errors[0].startswith("error: ")
    assert message in errors[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--module", "a:b"], "--module goes with --inputs, which is not given"),
        (["--inputs", "a.npz"], "--inputs goes with --module, which is not given"),
        (["--text", "a"], "--module takes the place of a model and a text: leave out --text"),
        (["--model", "demo:decoder"], "--module takes the place of a model and a text: leave out --model"),
        (["--from", "runs"], "--module takes the place of a model and a text: leave out --from"),
        (["--labels", "no.txt"], "no such file: no.txt"),
    ],
)
def test_options_that_exclude_each_other(run_cli: Any, options: list[str], message: str) -> None:
    own = (
        [] if options[0] in ("--module", "--inputs") else ["--module", "my_package.module:build", "--inputs", "one.npy"]
    )
    done = run_cli("stats", *own, *options)
    assert (done.code, done.out) == (2, "")
    assert message in done.err


def test_an_analysis_that_runs_a_model_again_says_so(run_cli: Any) -> None:
    done = run_cli("knockout", "--module", "my_package.module:build", "--inputs", "one.npy")
    assert (done.code, done.out) == (2, "")
    assert "give --model and --text" in done.err
