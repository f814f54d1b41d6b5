"""`attncli stats --profile`: the tables and pictures beside the statistics."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq
import pytest

import attncli

if TYPE_CHECKING:
    from conftest import RunCli

TEXT = "The cat sat on the mat."
TABLES = ("received", "sinks", "distance", "ends")
FEW = ("--metric", "entropy", "--layer", "1-2", "--head", "0,3")
PROFILE = ("stats", "-t", TEXT, *FEW, "--profile", "--ends", "2", "--sink-threshold", "0.2", "--out", "here")
MORE_FILES = ("--top-k", "3", "--format", "parquet,jsonl", "--save-maps")
WHOLE = ("stats", "-t", TEXT, *FEW, "--profile", "--ends", "2", *MORE_FILES, "--out", "run")


def table(path: str | Path) -> list[dict[str, str]]:
    with Path(path).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, strict=True))


def listed(folder: str | Path) -> list[str]:
    return [entry["name"] for entry in json.loads(Path(folder, "manifest.json").read_text())["files"]]


def test_tables_and_pictures_are_written_and_stdout_stays_the_statistics(run_once: RunCli, run_cli: RunCli) -> None:
    plain = run_cli("stats", "-t", TEXT, *FEW, "--out", "plain")
    done = run_once(*PROFILE)
    here = done.folder / "here"
    assert (done.code, done.err, done.out) == (0, "", plain.out)
    pictures = ["encoder-distance.png", "encoder-received.png"]
    assert set(listed(here)) - set(listed("plain")) == {*pictures, *(f"{name}.csv" for name in TABLES)}
    assert all((here / name).read_bytes().startswith(b"\x89PNG") for name in pictures)
    assert {path.name for path in here.iterdir()} == {*listed(here), "manifest.json"}


def test_the_tables_say_what_python_says(run_once: RunCli) -> None:
    here = run_once(*PROFILE).folder / "here"
    found = attncli.load().run(TEXT, layer="1-2", head="0,3", profile=True, ends=2, keep_maps=False).profile()
    frames = (found.received_frame(), found.sinks_frame(0.2), found.distance_frame(), found.ends_frame())
    for name, frame in zip(TABLES, frames, strict=True):
        rows = table(here / f"{name}.csv")
        assert list(rows[0]) == list(frame)
        for column in frame:
            expected = frame[column].tolist()
            if frame[column].dtype == float:
                got = [float(row[column]) if row[column] else np.nan for row in rows]
                assert got == pytest.approx(expected, rel=6e-6, abs=1e-6, nan_ok=True)
            else:
                assert [row[column] for row in rows] == list(map(str, expected))


def test_a_long_table_is_shortened_in_csv_only(
    run_once: RunCli, run_tables: RunCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run_once(*WHOLE)
    assert "received.csv" not in whole.err
    rows = pq.read_table(whole.folder / "run/received.parquet").to_pylist()
    heads = sorted({(row["layer"], row["head"]) for row in rows})
    monkeypatch.setattr("attncli.studies.stats.report.MOST_RECEIVED_ROWS", 3 * len(heads) + 1)
    done = run_tables("stats", "-t", TEXT, *FEW, "--profile", "--format", "parquet", "--out", "short")
    assert (
        "note: received.csv has only the 3 keys of each head that receive most, "
        f"as all {len(rows)} rows make too large a CSV: --format parquet writes all of them\n"
    ) in done.err
    assert pq.read_table("short/received.parquet").to_pylist() == rows
    kept = table("short/received.csv")
    assert len(kept) == 3 * len(heads)
    for layer, head in heads:
        received = sorted(row["received"] for row in rows if (row["layer"], row["head"]) == (layer, head))
        shown = [row for row in kept if (row["layer"], row["head"]) == (str(layer), str(head))]
        assert sorted(float(row["received"]) for row in shown) == pytest.approx(received[-3:], rel=6e-6)
        assert [int(row["key"]) for row in shown] == sorted(int(row["key"]) for row in shown)


def test_formats_are_those_of_the_statistics(run_once: RunCli) -> None:
    done = run_once(*WHOLE)
    assert done.code == 0
    folder = done.folder / "run"
    for name in TABLES:
        read = pq.read_table(folder / f"{name}.parquet")
        assert read.schema.metadata[b"schema"] == b"attncli.profile/1"
        lines = [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]
        assert read.to_pylist() == lines
        assert len(table(folder / f"{name}.csv")) == len(lines)
    types = {field.name: str(field.type) for field in pq.read_schema(folder / "sinks.parquet")}
    assert (types["kind"], types["layer"], types["token"], types["received"]) == ("string", "int64", "string", "double")


def test_no_sink_is_an_empty_table_of_the_same_types(run_tables: RunCli) -> None:
    options = ("--sink-threshold", "1", "--format", "parquet")
    call = (
        "stats",
        "-t",
        TEXT,
        "--metric",
        "entropy",
        "--layer",
        "3",
        "--head",
        "0",
        "--profile",
        *options,
        "--out",
        "here",
    )
    assert run_tables(*call).code == 0
    assert table("here/sinks.csv") == []
    assert Path("here/sinks.csv").read_text() == "text,kind,layer,head,key,token,piece,received,seen_by,min_rows\n"
    assert pq.read_schema("here/sinks.parquet").names == pq.read_schema("here/received.parquet").names
    assert pq.read_schema("here/sinks.parquet").types == pq.read_schema("here/received.parquet").types


@pytest.mark.parametrize(("given", "least"), [((), 5), (("--min-rows", "7"), 7), (("--min-rows", "0.5"), 15)])
def test_keys_that_few_tokens_see_are_no_sinks(run_tables: RunCli, given: tuple[str, ...], least: int) -> None:
    text = ("--model", "demo:decoder", "-t", "the cat sat on the mat. " * 6, "--max-tokens", "30")
    options = ("--metric", "entropy", "-l", "1", "-H", "0-1", "--sink-threshold", "0.01", "--profile", "--ends", "2")
    assert run_tables("stats", *text, *options, *given, "--out", "here").code == 0
    received, sinks = table("here/received.csv"), table("here/sinks.csv")
    assert {row["min_rows"] for row in received} == {str(least)}
    assert max(int(row["key"]) for row in received) == 29
    expected = [row for row in received if float(row["received"]) >= 0.01 and int(row["seen_by"]) >= least]
    assert sinks == expected
    assert len({row["key"] for row in sinks}) > 1


@pytest.mark.parametrize("given", ["0", "-3", "2.5", "nan"])
def test_a_number_of_rows_that_is_none_is_refused(run_tables: RunCli, given: str) -> None:
    done = run_tables("stats", "-t", TEXT, "--profile", "--min-rows", given)
    assert (done.code, done.out) == (2, "")
    assert "expected --min-rows to be a number from 1 up, such as 20, or a share below 1, such as 0.1" in done.err
    assert "--profile" in run_tables("stats", "-t", TEXT, "--min-rows", "7").err


def test_several_texts_have_a_picture_each_and_means_with_deviations(run_cli: RunCli) -> None:
    done = run_cli("stats", "-t", TEXT, "-t", "A dog ran.", *FEW, "--profile", "--ends", "2", "--out", "here")
    assert done.code == 0
    pictures = {name for name in listed("here") if name.startswith(("T", "encoder"))}
    assert pictures == {"T000-encoder-received.png", "T001-encoder-received.png", "encoder-distance.png"}
    assert {row["text"] for row in table("here/received.csv")} == {"0", "1"}
    assert "mass_std" in table("here/distance.csv")[0]
    assert "uniform_mass_std" in table("here/ends.csv")[0]


def test_all_kinds_of_an_encoder_decoder_are_profiled(run_cli: RunCli) -> None:
    done = run_cli("stats", "-m", "demo:seq2seq", "-t", "one two three", *FEW, "--profile", "--ends", "2", "-o", "here")
    assert done.code == 0
    pictures = {f"{kind}-received.png" for kind in attncli.KINDS} | {"encoder-distance.png", "decoder-distance.png"}
    assert {name for name in listed("here") if name.endswith(".png")} == pictures | {"stats.png"}
    assert {row["kind"] for row in table("here/distance.csv")} == {"encoder", "decoder"}
    ends = [row["end"] for row in table("here/ends.csv") if row["kind"] == "cross" and row["mass"]]
    assert set(ends) <= {"first", "last"}


def test_a_saved_run_is_profiled_without_the_model(run_once: RunCli, run_tables: RunCli) -> None:
    run = run_once(*WHOLE).folder / "run"
    options = (*FEW, "--profile", "--ends", "2", "--top-k", "3")
    assert run_tables("stats", "--from", run, *options, "--out", "again").code == 0
    for name in TABLES:
        for one, other in zip(table(run / f"{name}.csv"), table(f"again/{name}.csv"), strict=True):
            for column in one:
                if "mass" in column or column == "received":
                    assert bool(one[column]) == bool(other[column])
                    assert not one[column] or float(one[column]) == pytest.approx(float(other[column]), abs=1e-6)
                else:
                    assert one[column] == other[column]
    assert pq.read_table(run / "edges.parquet").equals(pq.read_table("again/edges.parquet"))


def test_the_same_command_gives_the_same_bytes(run_once: RunCli, run_cli: RunCli) -> None:
    first = run_once(*WHOLE).folder / "run"
    assert run_cli(*WHOLE).code == 0
    names = listed(first)
    assert names == listed("run")
    assert all((first / name).read_bytes() == Path("run", name).read_bytes() for name in names)


def test_a_text_without_a_middle_is_noted(run_tables: RunCli) -> None:
    done = run_tables("stats", "-t", TEXT, "--metric", "entropy", "-l", "1", "-H", "0", "--profile")
    assert done.code == 0
    assert done.err.startswith("note: --ends 64 is all of a text of ")
    quiet = run_tables("stats", "-t", TEXT, "--metric", "entropy", "-l", "1", "-H", "0", "--profile", "--quiet")
    assert (quiet.code, quiet.err) == (0, "")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--profile", "--ends", "0"), "expected --ends to be a number from 1 up, got 0"),
        (("--profile", "--sink-threshold", "30"), "expected --sink-threshold to be above 0 and at most 1, got 30.0"),
        (("--ends", "3"), "--ends is an option of --profile: add --profile, or leave it out"),
        (("--sink-threshold", "0.5"), "--sink-threshold is an option of --profile: add --profile, or leave it out"),
        (("--top-k", "0"), "expected --top-k to be a number from 1 up, got 0"),
        (("--min-weight", "1.5"), "expected --min-weight to be above 0 and at most 1, got 1.5"),
        (("--min-weight", "-1"), "expected --min-weight to be above 0 and at most 1, got -1.0"),
        (("--profile", "--aggregate", "mean"), "--profile needs single heads: leave out --aggregate"),
        (("--profile", "--aggregate-layers", "mean"), "--profile needs single heads: leave out --aggregate"),
    ],
)
def test_a_wrong_call_is_one_line_and_writes_nothing(options: tuple[str, ...], said: str, run_cli: RunCli) -> None:
    done = run_cli("stats", "-t", TEXT, *options)
    assert done.code == 2
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1
    assert said in done.err
    assert list(Path().iterdir()) == []
