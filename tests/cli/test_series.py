"""Every command that reads a model, on a pattern of checkpoints: a folder for each, and one table of all."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from safetensors.torch import load_file, save_file

import attncli
from attncli import models
from attncli.cli.command_table import all_commands, study_commands
from attncli.engine.checkpoints import find_checkpoints
from attncli.engine.series_changes import largest_changes
from attncli.studies.stats.study import StatsStudy

if TYPE_CHECKING:
    from conftest import Called, RunCli

TEXT = ("-t", "the cat sat")
ONE = (*TEXT, "-l", "0", "-H", "0")
CALLS: dict[str, tuple[str, ...]] = {
    "attribute": (*TEXT, "--method", "attention"),
    "compare": ("PATTERN", "demo:decoder", *ONE, "--metric", "sink"),
    "faithfulness": (*TEXT, "--method", "attention", "--removal", "delete", "--draws", "1"),
    "find": (*ONE, "--query", "sat", "--key", "cat"),
    "flow": TEXT,
    "heads": (*TEXT, "-l", "0", "--shuffle-seeds", "0"),
    "heatmap": (*ONE, "--figsize", "2,2", "--dpi", "40"),
    "highlight": (*ONE, "--focus", "cat", "--format", "html"),
    "importance": (*TEXT, "-l", "0", "--unit", "layer"),
    "knockout": (*TEXT, "-l", "0"),
    "patterns": (*ONE, "--shuffles", "0"),
    "prune": (*TEXT, "-t", "a dog ran", "--method", "gradient", "--heads", "1"),
    "qk-map": ONE,
    "segments": ("-t", "a cat", "--pair", "a dog", "-l", "0"),
    "stats": (*ONE, "--metric", "sink"),
    "view": ONE,
}
DOCUMENTS = {"attribute": "attribution"}
"""Names of documents that are not those of their commands."""
WITHOUT_TABLE = {"heatmap", "highlight", "view"}
OWN_SERIES = {"log", "check"}
OTHERS = {"info", "explain", "run"}
"""Commands that write no results of one model."""
STATS = ("stats", *TEXT, "-l", "0", "--metric", "sink", "--no-pictures")
WITH_PICTURES = (*STATS[:-1], "--format", "parquet")


@pytest.fixture
def runs(tmp_path: Path, checkpoints: Path) -> Path:
    """Two checkpoints that a test may change: their files are links or replaced."""
    for step in (20, 100):
        folder = tmp_path / "runs" / f"checkpoint-{step}"
        folder.mkdir(parents=True)
        for file in (checkpoints / folder.name).iterdir():
            (folder / file.name).symlink_to(file)
    return tmp_path / "runs"


@pytest.fixture(scope="module")
def kept() -> dict[Any, models.Loaded]:
    """The models that `pattern` has loaded."""
    return {}


@pytest.fixture
def pattern(checkpoints: Path, kept: dict[Any, models.Loaded], monkeypatch: pytest.MonkeyPatch) -> str:
    """Two checkpoints that no test changes, each loaded once for all commands."""
    load = models.load

    def load_once(**arguments: Any) -> models.Loaded:
        key = tuple(sorted(arguments.items()))
        if key not in kept:
            kept[key] = load(**arguments)
        return kept[key]

    monkeypatch.setattr(models, "load", load_once)
    return f"{checkpoints}/checkpoint-*0"


def series(run_cli: RunCli, runs: Path, *call: str) -> Called:
    return run_cli(*(call or STATS), "-m", f"{runs}/checkpoint-*", "-o", "out")


def files_of(folder: str | Path) -> dict[str, bytes]:
    """The files of a folder without the manifests, which hold times."""
    paths = (path for path in Path(folder).rglob("*") if path.is_file() and path.name != "manifest.json")
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths if ".checkpoints" not in path.parts}


def test_every_command_is_tried() -> None:
    assert {*CALLS} == {*all_commands()} - OWN_SERIES - OTHERS
    assert {*CALLS} - {"compare"} == {*study_commands()} - OWN_SERIES


@pytest.mark.parametrize("command", CALLS)
def test_every_command_has_a_folder_for_each_checkpoint_and_one_table(
    command: str, run_tables: RunCli, pattern: str
) -> None:
    call = CALLS[command]
    call = tuple(pattern if part == "PATTERN" else part for part in call)
    call = call if pattern in call else (*call, "-m", pattern)
    done = run_tables(command, *call, "-o", "out", *(("--no-pictures",) if command == "compare" else ()))
    assert done.code == 0, done.err
    names = ["checkpoint-20", "checkpoint-100"]
    *manifests, whole = (json.loads(Path("out", name, "manifest.json").read_text()) for name in (*names, "."))
    assert [manifest["complete"] for manifest in (*manifests, whole)] == [True] * 3
    listed = {f"{name}/{entry['name']}" for name, one in zip(names, manifests, strict=True) for entry in one["files"]}
    own = {entry["name"] for entry in whole["files"]} - listed
    if command in WITHOUT_TABLE:
        assert own == set()
        assert sorted(done.out.split()) == sorted(f"out/{name}" for name in listed)
        return
    table = f"{DOCUMENTS.get(command, command)}-series"
    assert own == {f"{table}.csv", f"{table}.json"}
    joined = Path(f"out/{table}.csv").read_text().splitlines()
    assert done.out.splitlines() == joined
    header = joined[0].split(",")
    assert header[:2] == ["checkpoint", "step"]
    assert len({*header}) == len(header)
    alone: list[str] = []
    for name in names:
        tables = [path.read_text().splitlines() for path in Path("out", name).glob("*.csv")]
        (rows,) = (rows[1:] for rows in tables if rows[0].split(",") == header[2:])
        alone += [f"{name},{name.rpartition('-')[2]},{row}" for row in rows]
    assert joined[1:] == alone


def test_files_of_a_checkpoint_are_those_of_the_single_run(run_once: RunCli, pattern: str, checkpoints: Path) -> None:
    done = run_once(*WITH_PICTURES, "-m", pattern, "-o", "out")
    single = run_once(*WITH_PICTURES, "-m", checkpoints / "checkpoint-100", "-o", "alone")
    alone = files_of(single.folder / "alone")
    assert {*alone} == {"stats.csv", "stats.json", "stats.parquet", "stats.png"}
    assert files_of(done.folder / "out/checkpoint-100") == alone
    folders = done.folder / "out/checkpoint-100", single.folder / "alone"
    digests = [json.loads((folder / "manifest.json").read_text())["digest"] for folder in folders]
    assert digests[0] == digests[1]
    frame = pd.read_parquet(done.folder / "out/stats-series.parquet")
    assert frame["step"].tolist() == [20] * 8 + [100] * 8
    assert frame["sink"][8:].tolist() == pd.read_parquet(single.folder / "alone/stats.parquet")["sink"].tolist()


def test_the_document_has_all_digits_and_the_largest_changes(run_once: RunCli, pattern: str, checkpoints: Path) -> None:
    folder = run_once(*WITH_PICTURES, "-m", pattern, "-o", "out").folder / "out"
    document = json.loads((folder / "stats-series.json").read_text())
    assert (document["schema"], document["command"]) == ("attncli.series/1", "stats")
    assert document["checkpoints"] == [
        {"checkpoint": f"checkpoint-{step}", "step": step, "left_out": None} for step in (20, 100)
    ]
    sinks = []
    for step in (20, 100):
        single = json.loads((folder / f"checkpoint-{step}/stats.json").read_text())
        assert single["inputs"] == document["inputs"]
        own = [row for row in document["rows"] if row["step"] == step]
        assert [{key: row[key] for key in row if key not in ("checkpoint", "step")} for row in own] == single["heads"]
        sinks.append([head["sink"] for head in single["heads"]])
    (change,) = document["changes"]
    head = int(np.argmax(np.abs(np.subtract(*sinks))))
    assert change == {
        "measure": "sink",
        "row": {"kind": "decoder", "layer": 0, "head": head},
        "before": sinks[0][head],
        "after": sinks[1][head],
        "change": sinks[1][head] - sinks[0][head],
        "rows": 8,
    }
    assert str(checkpoints) not in json.dumps(document)


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the models that are loaded, as they are."""
    names: list[str] = []
    load = models.load

    def listed(name: str, **arguments: Any) -> models.Loaded:
        names.append(Path(name).name)
        return load(name, **arguments)

    monkeypatch.setattr(models, "load", listed)
    return names


def test_the_same_command_runs_only_what_is_missing_or_has_changed(
    run_cli: RunCli, runs: Path, checkpoints: Path, loaded: list[str]
) -> None:
    late = runs / "checkpoint-100"
    late.rename(runs / "late")
    assert series(run_cli, runs).err == ""
    (runs / "late").rename(late)
    done = series(run_cli, runs)
    assert done.err == ("note: 1 of 2 checkpoints had been finished and are not run again (--force runs all)\n")
    assert loaded == ["checkpoint-20", "checkpoint-100"]
    whole = files_of("out")
    Path("out/checkpoint-20/stats.csv").unlink()
    Path("out/stats-series.json").unlink()
    series(run_cli, runs)
    assert loaded[2:] == ["checkpoint-20"]
    assert files_of("out") == whole
    (late / "model.safetensors").unlink()
    shutil.copyfile(checkpoints / "checkpoint-20/model.safetensors", late / "model.safetensors")
    changed = pd.read_csv("out/stats-series.csv") if series(run_cli, runs).code == 0 else None
    assert loaded[3:] == ["checkpoint-100"]
    assert changed is not None
    assert changed["sink"][:8].tolist() == changed["sink"][8:].tolist()
    assert series(run_cli, runs, *STATS, "--force").code == 0
    assert loaded[4:] == ["checkpoint-20", "checkpoint-100"]
    refused = series(run_cli, runs, *STATS, "-H", "0")
    assert (refused.code, "contains another run" in refused.err) == (4, True)


def test_broken_checkpoints_are_named_and_left_out(run_cli: RunCli, runs: Path) -> None:
    weights = load_file(runs / "checkpoint-100/model.safetensors")
    (runs / "checkpoint-100/model.safetensors").unlink()
    next(iter(weights.values())).fill_(np.nan)
    save_file(weights, runs / "checkpoint-100/model.safetensors", {"format": "pt"})
    shutil.copytree(runs / "checkpoint-20", runs / "checkpoint-30")
    (runs / "checkpoint-30/model.safetensors").write_bytes(b"torn")
    done = series(run_cli, runs, *STATS, "--json")
    assert done.code == 0
    document = json.loads(done.out)
    reasons = {entry["step"]: entry["left_out"] for entry in document["checkpoints"]}
    assert reasons[20] is None
    assert reasons[100] == "some of its parameters are not finite"
    assert reasons[30].startswith("model 'checkpoint-30' could not be loaded: its safetensors file is corrupt")
    assert {row["step"] for row in document["rows"]} == {20}
    assert "note: checkpoint-100 is left out: some of its parameters are not finite\n" in done.err
    assert done.err.count("is left out") == 2
    shutil.rmtree(runs / "checkpoint-20")
    none = run_cli(*STATS, "-m", f"{runs}/*", "-o", "none")
    assert (none.code, none.err.splitlines()[-1][:6]) == (3, "error:")


def test_bad_patterns_are_one_line(run_cli: RunCli, demo_dirs: dict[str, Path], runs: Path) -> None:
    done = run_cli(*STATS, "-m", f"{demo_dirs['encoder'].parent}/[ed]*coder", "-o", "out")
    assert done.code == 2
    assert "'decoder' (8 heads) and 'encoder' (4) have different heads: expected checkpoints" in done.err
    assert Path("out/decoder/stats.csv").is_file()
    assert "is a pattern of model folders, but nothing matches" in run_cli(*STATS, "-m", f"{runs}/x*").err
    assert "give one folder" in run_cli("compare", "demo:decoder", f"{runs}/*", *TEXT).err


def test_a_corpus_is_read_in_shards_with_each_checkpoint(
    run_cli: RunCli, checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StatsStudy, "corpus_from", 3)
    Path("texts.txt").write_text("the cat sat\na dog ran\nit was warm\nthe mat\n")
    call = ("stats", "-f", "texts.txt", "-l", "0", "--metric", "sink", "--no-pictures")
    assert run_cli(*call, "-m", f"{checkpoints}/checkpoint-1*", "-o", "out").code == 0
    assert run_cli(*call, "-m", checkpoints / "checkpoint-100", "-o", "alone").code == 0
    assert files_of("out/checkpoint-100") == files_of("alone")
    assert json.loads(Path("alone/stats.json").read_text())["corpus"]["texts"] == 4


def test_a_file_of_steps_runs_each_step_on_all_checkpoints(run_cli: RunCli, run_once: RunCli, pattern: str) -> None:
    step = "stats: {metric: sink, format: csv, pictures: false}"
    Path("plan.yaml").write_text(f"model: {pattern}\ntext: the cat sat\nlayer: 0\nout: planned\nsteps: [{step}]")
    done = run_cli("run", "plan.yaml")
    assert done.code == 0, done.err
    (table,) = Path("planned").rglob("stats-series.csv")
    assert str(table) in done.out.split()
    assert table.read_text() == run_once(*WITH_PICTURES, "-m", pattern, "-o", "out").out
    refused = run_cli("run", "plan.yaml", "--file", "-", "--out", "stdin", stdin="a")
    assert (refused.code, "stdin can be read once" in refused.err) == (2, True)


def test_python_lists_checkpoints_and_names_tell_folders_apart(runs: Path) -> None:
    assert [found.step for found in attncli.checkpoints(f"{runs}/*")] == [20, 100]
    for seed, step in ((2, 100), (1, 20)):
        (runs / f"seed-{seed}").mkdir()
        (runs / f"checkpoint-{step}").rename(runs / f"seed-{seed}/last")
    found = find_checkpoints(f"{runs}/*/last")
    assert [(checkpoint.name, checkpoint.step) for checkpoint in found] == [("seed-1/last", 1), ("seed-2/last", 2)]


def test_changes_are_of_the_same_rows() -> None:
    names = np.array(["a", "b"], dtype=object)
    first = {"token": names, "count": np.array([1, 1]), "score": np.array([0.0, np.nan])}
    last = {"token": names[::-1], "count": np.array([1, 1]), "score": np.array([3.0, 2.0])}
    (change,) = largest_changes(first, last)
    assert (change.row, change.before, change.after, change.rows) == ({"token": "a"}, 0.0, 2.0, 2)
    (change,) = largest_changes({**first, "count": np.array([1, 2])}, last)
    assert (change.row, change.rows) == ({"token": "a"}, 1)
    assert largest_changes({**first, "token": names[[0, 0]]}, last) == []
    assert largest_changes(first, {**last, "token": np.array(["c", "d"], dtype=object)}) == []
