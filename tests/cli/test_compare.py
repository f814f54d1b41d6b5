"""`attncli compare`: what is written and read, that runs and models say the same, and what is said of bad calls."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest
from cli.test_streams import on_terminal

if TYPE_CHECKING:
    from conftest import RunCli

TEXTS = "One.\nTwo cats.\nThree dogs ran.\nFour.\nFive of them.\nAnd six more.\n"
HEADS = ["kind", "layer", "head", "texts", "js_distance", "js_low", "js_high", "nearest_distance"]
MEASURES = [
    *("kind", "layer", "head", "metric", "texts", "a", "b", "change", "change_low", "change_high"),
    *("p", "p_adjusted", "effect"),
]


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


@pytest.fixture
def texts(run_cli: RunCli) -> str:
    Path("texts.txt").write_text(TEXTS)
    return "texts.txt"


def test_two_precisions_of_one_model(texts: str, run_cli: RunCli) -> None:
    call = ("compare", "demo:encoder", "--dtype-b", "bfloat16", "-f", texts, "--metric", "entropy,distance,sink")
    done = run_cli(*call, "-o", "here")
    assert (done.code, done.err) == (0, "")
    assert done.out == Path("here/compare.csv").read_text()
    table = rows(done.out)
    assert list(table[0]) == HEADS
    distances = [float(row["js_distance"]) for row in table]
    assert distances == sorted(distances, reverse=True)
    assert 0 < distances[-1] < distances[0] < 0.05
    measures = rows(Path("here/compare-measures.csv").read_text())
    assert list(measures[0]) == MEASURES
    assert len(table) == 16
    assert {entry["name"] for entry in json.loads(Path("here/manifest.json").read_text())["files"]} == {
        *("compare.json", "compare.csv", "compare-measures.csv", "compare-weights.csv", "compare.png")
    }
    assert run_cli(*call, "-o", "again").code == 0
    for name in ("compare.json", "compare.csv", "compare-measures.csv", "compare.png"):
        assert Path("here", name).read_bytes() == Path("again", name).read_bytes()


def test_saved_runs_say_what_their_models_say(texts: str, run_cli: RunCli) -> None:
    for dtype in ("float32", "bfloat16"):
        call = ("stats", "-f", texts, "--dtype", dtype, "--save-maps", "-o", dtype, "-q", "--metric", "sink")
        assert run_cli(*call).code == 0
    shared = ("-l", "1", "--metric", "entropy,sink")
    saved = run_cli("compare", "float32", "bfloat16", *shared)
    assert (saved.code, saved.err) == (0, "")
    models = run_cli("compare", "demo:encoder", "demo:encoder", "--dtype-b", "bfloat16", "-f", texts, *shared)
    for mine, theirs in zip(rows(saved.out), rows(models.out), strict=True):
        assert mine["head"] == theirs["head"]
        assert float(mine["js_distance"]) == pytest.approx(float(theirs["js_distance"]), rel=1e-4)
    assert len(list(Path("outputs/compare/demo-encoder").iterdir())) == 2


def test_json_has_both_sides_and_both_tables(texts: str, run_cli: RunCli) -> None:
    options = ("--metric", "entropy,sink", "--format", "parquet,jsonl,svg", "-o", "here", "--json")
    done = run_cli("compare", "--dtype-b", "float16", "-f", texts, *options)
    document = json.loads(done.out)
    assert done.out == Path("here/compare.json").read_text()
    assert list(document) == ["schema", "run", "other", "metrics", "heads", "measures", "weights"]
    assert (document["run"]["dtype"], document["other"]["dtype"]) == ("float32", "float16")
    assert (list(document["heads"][0]), list(document["measures"][0])) == (HEADS, MEASURES)
    assert {row["metric"] for row in document["measures"]} == {"entropy", "sink"} == set(document["metrics"])
    assert pq.read_table("here/compare-measures.parquet").to_pylist() == document["measures"]
    assert [json.loads(line) for line in Path("here/compare.jsonl").read_text().splitlines()] == document["heads"]
    assert Path("here/compare.svg").is_file()


def test_two_texts_on_one_model(run_tables: RunCli) -> None:
    call = ("compare", "-t", "one two", "--against-text", "two one")
    done = run_tables(*call, "-o", "here")
    assert done.code == 0
    assert "note: the texts differ: their maps are compared position by position" in done.err
    assert "note: 1 text is too few for intervals and p-values: give at least 6" in done.err
    assert not any("js_low" in row or "js_high" in row for row in rows(done.out))
    assert {head["js_low"] for head in json.loads(Path("here/compare.json").read_text())["heads"]} == {None}
    assert run_tables("compare", "-t", "one two", "--against-text", "two", "-o", "here").code == 4
    done = run_tables("compare", "-t", "one two", "--against-text", "two three four", "--metric", "entropy")
    assert "cannot be compared, so they have no js_distance" in done.err
    assert not any("js_distance" in row for row in rows(done.out))


def test_where_nothing_is_defined_there_is_no_picture(run_cli: RunCli) -> None:
    call = ("compare", "-t", "one two", "--against-text", "two", "--metric", "alignment_distance", "-o", "here")
    assert run_cli(*call).code == 0
    assert Path("here/compare.csv").is_file()
    assert not Path("here/compare.png").exists()


def test_an_encoder_decoder_needs_one_target_for_both(run_tables: RunCli) -> None:
    call = (
        "compare",
        "demo:seq2seq",
        "--dtype-b",
        "bfloat16",
        "-t",
        "one two",
        "--target",
        "owt eno",
        "--metric",
        "sink",
    )
    done = run_tables(*call)
    assert done.code == 0
    assert {row["kind"] for row in rows(done.out)} == {"encoder", "decoder", "cross"}


def test_a_person_sees_what_differs_most(tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text(TEXTS)
    call = ("compare", "--dtype-b", "bfloat16", "-f", "texts.txt", "-o", "here")
    seen = re.sub(r"\x1b\[[0-9;]*m", "", on_terminal(tmp_path, *call))
    assert "heads that differ most" in seen
    assert "largest changes from A to B" in seen
    assert re.search(r"^\d\.\d +0\.\d{4}  0\.\d{4}  0\.\d{4} +0\.\d{4}$", seen, re.MULTILINE)
    assert "low, high: 95 % interval over texts; p: adjusted over heads" in seen
    assert "text 0: " in seen
    assert "Wrote here/compare.png" in seen


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["demo:encoder", "-t", "x"], "there is nothing to compare with: give B, --dtype-b, --revision-b, --edit-b or"),
        (["demo:encoder", "-m", "demo:decoder", "-t", "x"], "A is demo:encoder and --model is demo:decoder: give one"),
        (["demo:encoder", "demo:decoder", "-t", "x"], "A has 4 encoder layers x 4 heads, B has 3 decoder layers x 8"),
        (["demo:encoder", "demo:encoder"], "there is no text to read"),
        (
            ["--dtype-b", "bfloat16", "-t", "x", "--generate", "3"],
            "--generate: each side would generate its own text",
        ),
        (["--dtype-b", "bfloat16", "-t", "x", "--save-maps"], "--save-maps: compare keeps no maps"),
        (["-t", "x", "-t", "y", "--against-text", "z"], "2 --text and 1 --against-text: give one of these for each"),
        (["-f", "texts.txt", "--against-text", "z"], "--against-text goes with --text alone: leave out --file"),
        (["saved"], "saved is a saved run, and there is nothing to compare it with"),
        (["saved", "demo:encoder", "-t", "x"], "expected two models or two saved runs, got one of each"),
        (["saved", "saved", "-t", "x"], "two saved runs need no model and no text: leave out --text"),
        (["saved", "saved", "--dtype-b", "float16"], "two saved runs need no model and no text: leave out --dtype-b"),
        (["--dtype-b", "bfloat16", "-t", "x", "--metric", "entrpy"], "unknown metric 'entrpy': did you mean 'entropy'"),
        (["--dtype-b", "bfloat16", "-t", "x " * 9, "--max-memory", "1kB"], "this run would keep"),
        (["--dtype-b", "bfloat61", "-t", "x"], "bfloat61"),
        (["--dtype-b", "bfloat16", "-t", "x", "--metric", "received"], "received has no value for a whole head"),
    ],
)
def test_bad_calls(args: list[str], said: str, texts: str, run_cli: RunCli) -> None:
    if "saved" in args:
        run_cli("heatmap", "-t", "x", "-l", "0", "-H", "0", "--save-maps", "-o", "saved")
    done = run_cli("compare", *args, "-o", "here")
    assert (done.code, done.out) == (2, ""), done.err
    assert done.err.startswith("error: ")
    assert said in done.err
    assert not Path("here").exists()
