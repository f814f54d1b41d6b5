"""`--by norm`: what is written says that it is of norms, and what cannot be is refused before the work begins."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING

import families
import numpy as np
import pyarrow.parquet as pq
import pytest
from families import FAMILIES

from attncli.vocabulary import BYS

if TYPE_CHECKING:
    from conftest import Called, RunCli

TEXT = ("-t", "The cat sat on the mat because it was warm.")
BAR = "value-weighted norm ‖A f(x)‖ (as hidden states)"


def written(folder: str, name: str) -> str:
    return Path(folder, name).read_text(encoding="utf-8")


def table(done: Called) -> list[dict[str, str]]:
    assert done.code == 0, done.err
    return list(csv.DictReader(io.StringIO(done.out)))


def test_pictures_say_what_they_show(run_cli: RunCli) -> None:
    options = (*TEXT, "--layer", "1", "-o", "here", "--format", "svg")
    assert run_cli("heatmap", *options, "--by", "norm").code == 0
    for name in ("encoder-L01-grid.svg", "encoder-L01-mean.svg"):
        drawn = written("here", name)
        assert BAR in drawn
        assert "value-weighted norms" in drawn
        assert "attention weight" not in drawn
    assert json.loads(written("here", "manifest.json"))["run"]["resolved"]["by"] == "norm"
    assert run_cli("heatmap", *options, "--force").code == 0
    assert "norm" not in written("here", "encoder-L01-grid.svg")


def test_a_pooled_picture_says_so_too(run_cli: RunCli) -> None:
    pooled = ("--by", "norm", "--resolution", "5", "--log", "-l", "0-1", "-H", "0", "--grid")
    done = run_cli("heatmap", *TEXT, *pooled, "-o", "here", "--format", "svg")
    assert done.code == 0
    assert "mean value-weighted norm ‖A f(x)‖ in" in written("here", "encoder-grid.svg")


def test_weight_is_the_default(run_cli: RunCli) -> None:
    for folder, by in (("one", ()), ("two", ("--by", "weight"))):
        run_cli("heatmap", *TEXT, "-l", "0", "-H", "0", *by, "-o", folder)
    one, two = (Path(folder, "encoder-L00-H00.png").read_bytes() for folder in ("one", "two"))
    assert one == two


def test_tables_of_measures_say_so(run_cli: RunCli) -> None:
    options = (*TEXT, "--metric", "entropy", "--per-query", "--format", "parquet")
    norms = table(run_cli("stats", *options, "-o", "norms", "--by", "norm"))
    weights = table(run_cli("stats", *options, "-o", "weights"))
    assert {row["by"] for row in norms} == {"norm"}
    assert "by" not in weights[0]
    assert [row["entropy"] for row in norms] != [row["entropy"] for row in weights]
    for folder, by in (("norms", "norm"), ("weights", "weight")):
        document = json.loads(written(folder, "stats.json"))
        assert document.get("by", "weight") == document["run"]["resolved"]["by"] == by
    assert set(pq.read_table("norms/stats-tokens.parquet")["by"].to_pylist()) == {"norm"}
    assert json.loads(written("norms", "stats.json"))["tokens"][0]["by"] == "norm"


def test_so_does_flow(run_cli: RunCli) -> None:
    rows = table(run_cli("flow", *TEXT, "--focus", "it", "--by", "norm", "-o", "here", "--format", "svg"))
    assert {row["by"] for row in rows} == {"norm"}
    assert sum(float(row["rollout"]) for row in rows) == pytest.approx(1)
    assert [flow["by"] for flow in json.loads(written("here", "flow.json"))["flows"]] == ["norm"]
    for name in ("encoder-rollout.svg", "encoder-rollout-matrix.svg"):
        assert "by value-weighted norms" in written("here", name)
    assert "by" not in table(run_cli("flow", *TEXT))[0]


@pytest.mark.parametrize("command", ["stats", "flow"])
def test_again_from_saved_norms_comes_the_same(command: str, run_cli: RunCli) -> None:
    direct = table(run_cli(command, *TEXT, "-H", "0", "--by", "norm", "--save-maps", "-o", "saved"))
    again = table(run_cli(command, "--from", "saved", "--by", "norm"))
    assert json.loads(written("saved", "run.json"))["attention"][0]["by"] == "norm"
    for one, other in zip(direct, again, strict=True):
        assert one.keys() == other.keys()
        for name, value in one.items():
            exact = name.endswith(("kind", "by", "_token", "_piece")) or not value
            assert other[name] == value if exact else float(other[name]) == pytest.approx(float(value), abs=1e-5), name


def test_so_are_pictures(run_cli: RunCli) -> None:
    chosen = ("--layer", "1", "--head", "0", "--by", "norm")
    run_cli("heatmap", *TEXT, *chosen, "--save-maps", "-o", "saved")
    assert run_cli("heatmap", "--from", "saved", *chosen, "-o", "again").code == 0
    name = "encoder-L01-H00.png"
    assert Path("again", name).read_bytes() == Path("saved", name).read_bytes()


def test_saved_norms_are_never_taken_for_weights(run_cli: RunCli) -> None:
    run_cli("stats", *TEXT, "--by", "norm", "--metric", "sink", "--save-maps", "-o", "saved")
    for command in (
        "heatmap",
        "stats",
        "flow",
        "patterns",
        "segments",
        "view",
        "heads",
        "highlight --focus it",
        "find --query it --key cat",
    ):
        done = run_cli(*command.split(), "--from", "saved", "-o", "here")
        assert done.code == 2
        assert done.err.startswith("error: the run of demo:encoder contains value-weighted norms, not weights: ")
        assert not Path("here").exists()
    done = run_cli("compare", "saved", "saved", "-o", "here")
    assert (done.code, "contains value-weighted norms" in done.err) == (2, True)


def test_saved_weights_are_never_taken_for_norms(run_cli: RunCli) -> None:
    run_cli("stats", *TEXT, "--metric", "sink", "--save-maps", "-o", "saved")
    np.save("maps.npy", np.full((2, 2), 0.5))
    for command in ("heatmap", "stats", "flow"):
        done = run_cli(command, "--from", "saved", "--by", "norm")
        assert done.code == 2
        assert "from which no norms can be computed: run the model again with --by norm --save-maps" in done.err
        assert run_cli(command, "--from", "maps.npy", "--by", "norm").code == 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("heatmap", "--by", "size"), "unknown --by 'size'"),
        (("stats", "--by", "norms"), "unknown --by 'norms': did you mean 'norm'?"),
        (("flow", "--by", "norm", "--capture", "eager"), "use --capture auto"),
        (("stats", "--by", "norm", "--top-k", "3"), "need weights: leave them out"),
        (("stats", "--by", "norm", "--profile"), "need weights: leave them out"),
    ],
)
def test_calls_that_make_no_sense(options: tuple[str, ...], said: str, run_cli: RunCli) -> None:
    done = run_cli(*options, *TEXT)
    assert done.code == 2
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1
    assert said in done.err
    assert not Path("outputs").exists()


@pytest.mark.parametrize(("name", "why"), [("bloom", "shows no values"), ("qwen3_next", "gated or changed")])
def test_a_model_without_norms_says_why(name: str, why: str, run_cli: RunCli, tmp_path: Path) -> None:
    folder = families.save(FAMILIES[name], tmp_path / name)
    done = run_cli("heatmap", "-m", folder, "-t", "the animal", "--by", "norm")
    assert done.code == 3
    (line,) = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert why in line
    assert "use --by weight" in line


def test_steps_by_weight_and_by_norm_go_together(run_cli: RunCli) -> None:
    more = {"flow": {}, "stats": {"metric": "sink"}}
    steps = [{name: {"name": f"{name}-{by}", "by": by} | more[name]} for name in more for by in BYS]
    Path("steps.yaml").write_text(json.dumps({"text": "one two", "steps": steps}), encoding="utf-8")
    done = run_cli("run", "steps.yaml", "-o", "here")
    assert (done.code, done.err) == (0, "")
    for name, options in more.items():
        alone = [part for key, value in options.items() for part in (f"--{key}", value)]
        tables = {by: next(Path("here").rglob(f"{name}-{by}/{name}.csv")).read_text(encoding="utf-8") for by in BYS}
        assert tables["norm"] == run_cli(name, "-t", "one two", "--by", "norm", *alone).out
        assert not tables["weight"].splitlines()[0].endswith(",by")


def test_a_page_explains_it(run_cli: RunCli) -> None:
    page = run_cli("explain", "value-weighted-norms").out
    for promised in ("‖A_ij f(x_j)‖", "Kobayashi et al. 2020", "before layer norm", "shares"):
        assert promised in page
    assert "--by" in run_cli("heatmap", "--help").out


def test_the_same_command_gives_the_same_bytes(run_cli: RunCli) -> None:
    for folder in ("one", "two"):
        assert run_cli("stats", *TEXT, "--by", "norm", "--metric", "sink", "-o", folder).code == 0
    for name in ("stats.json", "stats.csv", "stats.png"):
        assert Path("one", name).read_bytes() == Path("two", name).read_bytes()
