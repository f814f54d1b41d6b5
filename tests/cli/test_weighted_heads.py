"""`--aggregate weights:FILE` on the command line and in files of `attncli run`."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import RunCli

TEXT = ("-m", "demo:decoder", "-t", "the cat sat")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A table of all heads: the weight of a head is its number, less 3."""
    rows = [f"decoder,{layer},{head},{head - 3}" for layer in range(3) for head in range(8)]
    path = tmp_path / "heads" / "own.csv"
    path.parent.mkdir()
    path.write_text("\n".join(["kind,layer,head,weight", *rows]), encoding="utf-8")
    return path


def test_importance_serves_as_a_file_of_each_format(run_tables: RunCli) -> None:
    command = ("importance", *TEXT, "--layer", "1", "-o", "known", "--format", "json,csv,parquet")
    assert run_tables(*command).code == 0
    outs = []
    for suffix in ("json", "parquet"):
        done = run_tables(
            *("stats", *TEXT, "--layer", "1", "--metric", "entropy", "--format", "csv"),
            *("--aggregate", f"weights:known/importance.{suffix}", "-o", suffix),
        )
        assert done.code == 0, done.err
        assert f"heads are combined by importance.{suffix}: " in done.err
        outs.append(list(csv.DictReader(done.out.splitlines())))
    assert all(row["head"] == "weighted" for rows in outs for row in rows)
    assert len(outs[0]) == 1
    assert outs[0] == outs[1]
    done = run_tables("stats", "-t", "the cat", "--aggregate", "weights:known/importance.json")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "importance.json is of demo:decoder, this is demo:encoder" in done.err
    done = run_tables("stats", "-t", "the cat", "--aggregate", "weights:known/importance.csv")
    assert "demo:encoder has no decoder heads" in done.err


def test_a_file_of_run_finds_weights_beside_itself(run_cli: RunCli, table: Path) -> None:
    (table.parent / "plan.yaml").write_text(
        "model: demo:decoder\ntext: the cat sat\naggregate: weights:own.csv\nsteps:\n"
        "  - stats: {metric: entropy, format: json}\n  - heatmap: {format: svg, layer: 1}\n  - view\n",
        encoding="utf-8",
    )
    done = run_cli("run", table.parent / "plan.yaml", "-o", "made")
    assert done.code == 0, done.err
    made = Path("made/demo-decoder/000")
    assert "weighted mean of heads" in (made / "heatmap/decoder-L01-weighted.svg").read_text(encoding="utf-8")
    assert "9 of 24 have a negative number" in (made / "view/view.html").read_text(encoding="utf-8")
    alone = run_cli(
        "stats", *TEXT, "--metric", "entropy", "--aggregate", f"weights:{table}", "--format", "json", "-o", "alone"
    )
    assert alone.code == 0, alone.err
    step, command = (
        json.loads((folder / "stats.json").read_text(encoding="utf-8")) for folder in (made / "stats", Path("alone"))
    )
    assert step["run"]["resolved"]["head_weights"] == command["run"]["resolved"]["head_weights"]
    for of_step, of_command in zip(step["heads"], command["heads"], strict=True):  # kept maps, and the stream
        assert of_step["entropy"] == pytest.approx(of_command["entropy"], abs=1e-5)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("weights:nothing.csv", "no such file: nothing.csv"),
        ("weights:", "names no file"),
        ("importance.json", "unknown --aggregate 'importance.json'"),
        ("weights:few.csv", "has no number for decoder heads 0.1, 0.2, 0.3, 0.4 and 19 more"),
        ("weights:zero.csv", "has no number above 0 for the chosen decoder heads"),
    ],
)
def test_bad_files_are_one_line(value: str, said: str, run_tables: RunCli, table: Path) -> None:
    Path("few.csv").write_text("kind,layer,head,weight\ndecoder,0,0,1\n", encoding="utf-8")
    header, *rows = table.read_text(encoding="utf-8").splitlines()
    zeros = [f"{row.rpartition(',')[0]},0" for row in rows]
    Path("zero.csv").write_text("\n".join([header, *zeros]), encoding="utf-8")
    done = run_tables("stats", *TEXT, "--aggregate", value)
    assert (done.code, done.err.count("\n")) == (2, 1), done.err
    assert said in done.err
