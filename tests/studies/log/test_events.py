"""`attncli log --tensorboard DIR`: TensorBoard reads the numbers of log.csv, and the same command replaces them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from attncli.studies.log.events import run_name, step_events
from attncli.studies.log.result import Snapshot

if TYPE_CHECKING:
    from conftest import Called, RunCli

TEXTS = ("-t", "The cat sat on the mat because it was warm.", "-t", "A dog ran home to eat its dinner.")
SMALL = ("--metric", "sink", "--probe-length", "6", "--sequences", "1", "-l", "0,1", "-H", "0-2", "--no-pictures")


def read(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder), {"tensors": 0, "histograms": 0})
    events.Reload()
    return events


@pytest.fixture
def logged(run_once: RunCli, checkpoints: Path) -> Called:
    pattern = f"{checkpoints}/checkpoint-*"
    return run_once("log", "-m", pattern, *TEXTS, *SMALL, "-o", "here", "--tensorboard", "board")


def test_tensorboard_reads_the_numbers_of_the_tables(logged: Called, checkpoints: Path) -> None:
    assert logged.code == 0, logged.err
    assert "to see it: tensorboard --logdir board" in logged.err
    (folder,) = (logged.folder / "board").iterdir()
    assert folder.name == run_name(f"{checkpoints}/checkpoint-*")
    events = read(folder)
    tables = {
        "head": pd.read_csv(logged.folder / "here/log.csv"),
        "layer": pd.read_csv(logged.folder / "here/log-layers.csv"),
    }
    for table, rows, name, tag in (
        ("layer", {"layer": 1}, "sink", "layer-01/sink"),
        ("layer", {"layer": 0}, "induction_max", "layer-00/induction_max"),
        ("head", {"layer": 1, "head": 2}, "sink", "head-1.2/sink"),
    ):
        chosen = tables[table]
        for column, value in rows.items():
            chosen = chosen[chosen[column] == value]
        points = events.Scalars(f"attention/decoder/{tag}")
        assert [point.step for point in points] == [3, 20, 100]
        np.testing.assert_allclose([point.value for point in points], chosen[name], rtol=1e-4)
    times = [point.wall_time for point in points]
    assert times == [checkpoints.joinpath(f"checkpoint-{step}").stat().st_mtime for step in (3, 20, 100)]


def test_another_run_replaces_the_points_of_the_same_checkpoints(
    logged: Called, run_cli: RunCli, checkpoints: Path, tmp_path: Path
) -> None:
    board = shutil.copytree(logged.folder / "board", tmp_path / "board")
    (folder,) = board.iterdir()
    (before,) = folder.iterdir()
    other = folder / "events.out.tfevents.1.host"
    other.write_bytes(before.read_bytes())
    call = ("log", "-m", f"{checkpoints}/checkpoint-*", "-t", "A dog ran home.", *SMALL, "--probe-length", "0")
    done = run_cli(*call, "--tensorboard", board)
    assert done.code == 0, done.err
    (new,) = {*folder.iterdir()} - {other}  # files that attncli did not write stay
    assert new.name != before.name  # a running TensorBoard would not notice a file that is replaced


def test_a_folder_that_cannot_be_written_is_refused_before_a_model_is_loaded(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    done = run_cli("log", "-m", "demo:decoder", *TEXTS, "--tensorboard", "file/board")
    assert done.code == 4
    assert "expected a folder for --tensorboard, but file is a file: choose another folder" in done.err


def test_patterns_have_folders_of_their_own() -> None:
    names = [run_name(pattern) for pattern in ("a/x/checkpoint-*", "b/x/checkpoint-*", "demo:decoder")]
    assert len(set(names)) == 3
    assert names[0].startswith("x--checkpoint-")


def test_what_is_undefined_has_no_point_and_classes_are_counted() -> None:
    heads = {
        "kind": np.array(["encoder"] * 3, dtype=object),
        "layer": np.array([0, 0, 1]),
        "head": np.array([0, 2, 0]),
        "sink": np.array([0.5, np.nan, 0.25]),
        "sink_uniform": np.array([0.1, 0.1, 0.1]),
        "induction": np.array([np.nan, 0.1, 0.9]),
        "class": np.array(["vertical", None, "vertical"], dtype=object),
    }
    layers = {
        "kind": np.array(["encoder"] * 2, dtype=object),
        "layer": np.array([0, 1]),
        "sink": np.array([0.5, 0.25]),
        "vertical_heads": np.array([1, 1]),
        "local_heads": np.array([0, 0]),
    }
    snapshot = Snapshot("model", None, heads, layers, ("sink",), ("induction",))
    events = step_events(snapshot, 3, {("encoder", 0): (0,)})
    assert events.scalars == pytest.approx(
        {
            "attention/encoder/layer-00/sink": 0.5,
            "attention/encoder/layer-01/sink": 0.25,
            "attention/encoder/head-0.0/sink": 0.5,
            "attention/encoder/head-0.0/induction": np.nan,
            "attention/encoder/classes/vertical": 2.0,
            "attention/encoder/classes/local": 0.0,
            "attention/encoder/induction_max": 0.9,
        },
        nan_ok=True,
    )
    assert events.texts["attention/encoder/classes"].splitlines() == [
        "| layer | head 0 | head 2 |",
        "| --- | --- | --- |",
        "| 0 | vertical | - |",
        "| 1 | vertical |  |",
    ]
    assert list(events.histograms) == ["attention/encoder/sink", "attention/encoder/induction"]
