"""`attncli stats --top-k` and `--min-weight`: the strongest weights beside the statistics."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pyarrow.parquet as pq
import pytest

import attncli

if TYPE_CHECKING:
    from conftest import RunCli

TEXTS = ("-t", "Unbelievable, really.", "-t", "The cat sat.")


@pytest.mark.parametrize("words", [False, True])
@pytest.mark.parametrize("special", ["keep", "drop"])
def test_the_file_is_what_python_finds(words: bool, special: Literal["keep", "drop"], run_tables: RunCli) -> None:
    options = ("--top-k", "2", "--layer", "0,2", "--special", special, *(["--words"] if words else []))
    assert run_tables("stats", *TEXTS, "--metric", "sink", *options, "--out", "here").code == 0
    run = attncli.load().run(list(TEXTS[1::2]), top_k=2, layer="0,2", words=words, special=special, keep_maps=False)
    read, frame = pq.read_table("here/edges.parquet").to_pandas(), run.edges().to_frame()
    assert all(read[name].tolist() == frame[name].tolist() for name in frame)


def test_the_file_stands_in_the_manifest_and_stdout_stays_the_statistics(run_cli: RunCli) -> None:
    plain = run_cli("stats", *TEXTS, "--metric", "sink")
    done = run_cli("stats", *TEXTS, "--metric", "sink", "--min-weight", "0.5", "--out", "here")
    assert (done.code, done.out, done.err) == (0, plain.out, "")
    listed = [entry["name"] for entry in json.loads(Path("here/manifest.json").read_text())["files"]]
    assert listed == ["edges.parquet", "stats.csv", "stats.json", "stats.png"]


def test_both_options_together_are_both_limits(run_tables: RunCli) -> None:
    done = run_tables("stats", *TEXTS, "--metric", "sink", "--top-k", "2", "--min-weight", "0.3", "--out", "here")
    assert done.code == 0
    table = pq.read_table("here/edges.parquet").to_pandas()
    assert table["weight"].min() >= 0.3
    assert table.groupby(["text", "layer", "head", "query"]).size().max() == 2


def test_more_edges_than_keys_are_noted(run_tables: RunCli) -> None:
    done = run_tables("stats", "-t", "The cat sat.", "--metric", "sink", "--top-k", "99")
    assert done.code == 0
    assert done.err.startswith("note: --top-k 99 is more than the ")
    assert done.err.endswith(" tokens of a text: all visible keys are taken\n")


def test_a_missing_library_is_said_before_the_model_runs(run_cli: RunCli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    done = run_cli("stats", "-m", "no/such/model", "-t", "The cat.", "--top-k", "2")
    assert done.code == 2
    assert done.err == 'error: Parquet needs pyarrow: pip install "attncli[parquet]"\n'
    assert list(Path().iterdir()) == []


def test_a_run_that_fails_leaves_no_edges_behind(run_cli: RunCli) -> None:
    done = run_cli("stats", "-m", "no/such/model", "-t", "The cat.", "--top-k", "2")
    assert done.code == 3
    assert list(Path().iterdir()) == []
