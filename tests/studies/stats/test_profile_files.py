"""The tables of a profile on disk: exact numbers, exact tokens, written head by head."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hostile import HOSTILE

from attncli.data import Profile, Received, Scores, Tokens
from attncli.store import OutputFolder
from attncli.studies.stats.profile_files import write_profile


def scores(dim: str, **coords: list[object]) -> dict[str, Scores]:
    heads = {"kind": ("head", np.array(["encoder"], object)), "layer": ("head", np.zeros(1, int))}
    named = {name: (dim, np.array(entries)) for name, entries in coords.items()}
    values = np.array([[0.1 + 0.2, np.nan]])
    return {
        name: Scores(name, values, ("head", dim), heads | named, "1", (0, 1), "") for name in ("mass", "uniform_mass")
    }


def profile() -> Profile:
    n = len(HOSTILE)
    values = np.stack([np.arange(n) / n, np.full(n, np.nan)])
    seen = np.stack([np.full(n, n), np.zeros(n, int)])
    one = Received(3, "encoder", Tokens.plain(HOSTILE), np.zeros(2, int), np.array([1, 4]), values, seen, np.full(2, n))
    return Profile((one,), scores("bin", **{"from": [0, 1], "to": [0, 1]}), scores("end", end=["first", "last"]))


@pytest.fixture
def written(tmp_path: Path) -> Path:
    write_profile(OutputFolder(tmp_path, "stats", "0"), profile(), 0.5, ("json", "csv", "jsonl", "parquet"))
    return tmp_path


def test_tokens_and_numbers_come_back_through_every_reader(written: Path) -> None:
    with (written / "received.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, strict=True))
    n = len(HOSTILE)
    assert [row["token"] for row in rows] == HOSTILE * 2
    assert [float(row["received"]) for row in rows[:n]] == [at / n for at in range(n)]
    assert {row["received"] for row in rows[n:]} == {""}
    assert [(row["text"], row["head"]) for row in rows] == [("3", "1")] * n + [("3", "4")] * n
    lines = [json.loads(line) for line in (written / "received.jsonl").read_text(encoding="utf-8").splitlines()]
    table = pq.read_table(written / "received.parquet")
    assert table.to_pylist() == lines
    assert [line["token"] for line in lines] == HOSTILE * 2
    assert lines[-1]["received"] is None


def test_sinks_are_the_rows_from_the_threshold_on(written: Path) -> None:
    rows = pq.read_table(written / "received.parquet").to_pylist()
    sinks = pq.read_table(written / "sinks.parquet").to_pylist()
    assert sinks == [row for row in rows if row["received"] is not None and row["received"] >= 0.5]
    assert sinks


def test_what_is_undefined_is_an_empty_cell(written: Path) -> None:
    assert (written / "distance.csv").read_text().splitlines() == [
        "kind,layer,from,to,mass,uniform_mass",
        "encoder,0,0,0,0.30000000000000004,0.30000000000000004",
        "encoder,0,1,1,,",
    ]
    assert (written / "ends.csv").read_text().splitlines()[1].startswith("encoder,0,first,0.3")


def test_only_the_formats_asked_for_are_written(tmp_path: Path) -> None:
    folder = OutputFolder(tmp_path, "stats", "0")
    write_profile(folder, profile(), 0.5, ("json", "csv"))
    assert [path.name for path in folder.written] == ["received.csv", "sinks.csv", "distance.csv", "ends.csv"]
