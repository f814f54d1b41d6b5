"""`attncli patterns`: which files come, that they agree, what a person and a script read, what is said of bad calls."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from cli.test_streams import on_terminal
from hostile import HOSTILE

import attncli
from attncli.studies.patterns.result import BASELINES, CLASSES, NUMBERS
from attncli.studies.repeated.result import SCORES

if TYPE_CHECKING:
    from conftest import RunCli

TEXT = "The cat sat on the mat because it was warm, and the dog sat beside it."
WRITTEN = ["patterns-examples.png", "patterns-layers.csv", "patterns.csv", "patterns.json", "patterns.png"]
ALWAYS = ["manifest.json", *WRITTEN]
SPECIAL = r"note: special tokens take \d+% of the attention; --special drop --words leaves them out and [^\n]+\n"
POSITIONAL = r"note: the positional baseline and rigidity are undefined: they are learned from[^\n]+ several texts\n"


def names(folder: str | Path = "here") -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def same(cell: str, value: Any) -> bool:
    """Whether a CSV cell and a JSON value are the same."""
    if isinstance(value, list):
        return cell.split() == value
    if value is None:
        return cell == ""
    return float(cell) == pytest.approx(value, rel=6e-6, abs=1e-6) if isinstance(value, float) else cell == str(value)


def test_files_hold_the_same_and_the_manifest_names_them(run_cli: RunCli) -> None:
    done = run_cli("patterns", "-t", TEXT, "-t", TEXT[:50], "-o", "here")
    assert done.code == 0
    assert re.fullmatch(SPECIAL, done.err)
    assert names() == ALWAYS
    document = json.loads(Path("here/patterns.json").read_text(encoding="utf-8"))
    assert done.out == Path("here/patterns.csv").read_text(encoding="utf-8")
    for table, entries in ((done.out, "heads"), (Path("here/patterns-layers.csv").read_text(), "layers")):
        assert len(rows(table)) == len(document[entries]) > 0
        for row, entry in zip(rows(table), document[entries], strict=True):
            # a text of one segment has no weight within segments, and rows by position have no special tokens
            left_out = {name for name in entry if name.startswith("segment_mass") or name == "special_mass_positional"}
            assert row.keys() == entry.keys() - left_out
            assert {entry[name] for name in left_out} <= {None}
            assert all(same(row[name], entry[name]) for name in row)
    assert document["schema"] == "attncli.patterns/1"
    assert list(document["classes"]) == list(CLASSES)
    assert [*NUMBERS, "rigidity", "differentiation"] == list(document["numbers"])
    asked = [*document["classes"].values(), *(each["question"] for each in document["numbers"].values())]
    assert all(question.endswith("?") for question in asked)
    head = document["heads"][0]
    assert all(f"{name}_{by}" in head for name in NUMBERS for by in BASELINES)
    manifest = json.loads(Path("here/manifest.json").read_text())
    assert sorted(entry["name"] for entry in manifest["files"]) == WRITTEN
    assert manifest["run"]["seed"] == 0
    assert manifest["run"]["resolved"]["vertical"] == 0.3


MORE_FORMATS = ("patterns", "-t", TEXT, "-o", "here", "--json", "--shuffles", "0", "--format", "parquet,jsonl,svg")


def test_with_json_the_document_is_all_of_stdout(run_once: RunCli) -> None:
    done = run_once(*MORE_FORMATS)
    assert done.out == (done.folder / "here/patterns.json").read_text(encoding="utf-8")
    assert re.fullmatch(SPECIAL + POSITIONAL, done.err)
    found = json.loads(done.out)
    assert found["heads"][0]["diagonal_positional"] is None
    assert found["heads"][0]["rigidity"] is found["layers"][0]["rigidity"] is None
    assert {head["sink_key"] for head in found["heads"]} == {"[CLS]", "full stop", "other"}
    assert "sink_shuffled" not in found["heads"][0]
    assert found["run"]["seed"] is None


def test_formats_may_be_added(run_once: RunCli) -> None:
    done = run_once(*MORE_FORMATS)
    assert done.code == 0
    here = done.folder / "here"
    assert {"patterns.parquet", "patterns.jsonl", "patterns-layers.parquet", "patterns.svg"} < {*names(here)}
    table = pq.read_table(here / "patterns.parquet")
    assert table.schema.metadata[b"schema"] == b"attncli.patterns/1"
    lines = [json.loads(line) for line in (here / "patterns.jsonl").read_text().splitlines()]
    assert table.column("classes").to_pylist() == [line["classes"] for line in lines]
    svg = (here / "patterns.svg").read_text(encoding="utf-8")
    assert ">vertical</text>" in svg


FOUR_HEADS = ("-l", "1,3", "-H", "0,2", "--shuffles", "0")


def test_a_layer_shows_its_heads_side_by_side(run_once: RunCli) -> None:
    done = run_once("patterns", "-t", TEXT, "-o", "kept", *FOUR_HEADS, "--save-maps")
    assert done.code == 0
    assert [(row["layer"], row["head"]) for row in rows(done.out)] == [("1", "0"), ("1", "2"), ("3", "0"), ("3", "2")]
    assert "diagonal_positional" not in rows(done.out)[0]
    pictures = ["encoder-L01-patterns.png", "encoder-L03-patterns.png"]
    assert set(names(done.folder / "kept")) == {*pictures, *ALWAYS, "maps.safetensors", "run.json"}


def test_a_saved_run_gives_the_same_and_the_same_call_the_same_bytes(run_once: RunCli, run_cli: RunCli) -> None:
    first = run_once("patterns", "-t", TEXT, "-o", "kept", *FOUR_HEADS, "--save-maps")
    kept = first.folder / "kept"
    assert run_cli("patterns", "-t", TEXT, "-o", "two", *FOUR_HEADS, "--save-maps").code == 0
    for name in names("two"):
        if name not in ("manifest.json", "run.json"):
            assert Path("two", name).read_bytes() == (kept / name).read_bytes(), name
    done = run_cli("patterns", "--from", kept, "-l", "1,3", "-o", "from")
    assert done.code == 0
    assert re.fullmatch(SPECIAL + POSITIONAL, done.err)
    assert len(rows(done.out)) == len(rows(first.out)) == 4
    for one, other in zip(rows(done.out), rows(first.out), strict=True):
        assert one["classes"] == other["classes"]
        assert float(one["sink"]) == pytest.approx(float(other["sink"]), abs=1e-5)
    assert names("from") == sorted({*names("two")} - {"maps.safetensors", "run.json"})


def test_each_kind_has_its_examples(run_cli: RunCli) -> None:
    pair = ("-t", "one two", "--target", "owt eno")
    done = run_cli("patterns", "-m", "demo:seq2seq", *pair, "-l", "0", "-H", "0", "--shuffles", "0", "-o", "here")
    assert {row["kind"] for row in rows(done.out)} == {"encoder", "decoder", "cross"}
    assert {f"{kind}-patterns-examples.png" for kind in ("encoder", "decoder", "cross")} < {*names()}
    assert not any("segment_mass" in row for row in rows(done.out))


def test_maps_from_elsewhere_are_classified(run_tables: RunCli) -> None:
    uniform, previous = np.full((12, 12), 1 / 12), np.eye(12)[np.maximum(np.arange(12) - 1, 0)]
    np.save("maps.npy", np.stack([uniform, previous]))
    done = run_tables("patterns", "--from", "maps.npy", "--axes", "head,query,key", "-o", "here")
    assert [row["classes"] for row in rows(done.out)] == ["uniform", "diagonal"]
    assert re.fullmatch(POSITIONAL, done.err)


def test_several_texts_give_means_and_their_spread(run_tables: RunCli) -> None:
    model = attncli.load("demo:encoder")
    one, other = (
        model.patterns(text, shuffles=0, layer=0, head="0-2").to_frame().to_dict("records")
        for text in (TEXT, TEXT[:40])
    )
    both = rows(run_tables("patterns", "-t", TEXT, "-t", TEXT[:40], "--shuffles", "0", "-l", "0", "-H", "0-2").out)
    for a, b, mean in zip(one, other, both, strict=True):
        for name in ("sink", "sink_uniform", "local_mass"):
            assert float(mean[name]) == pytest.approx((float(a[name]) + float(b[name])) / 2, abs=1e-6)
        assert float(mean["sink_std"]) == pytest.approx(abs(float(a["sink"]) - float(b["sink"])) / 2, abs=1e-6)
        assert mean["texts"] == "2"
        assert float(mean["diagonal_positional"]) > 0
        assert 0 <= float(mean["rigidity"]) <= 1
        assert float(mean["rigidity_std"]) >= 0
        assert float(mean["diagonal_offset"]) in {float(each["diagonal_offset"]) for each in (a, b)}
        assert float(mean["diagonal_offset_share"]) in (0.5, 1)
        assert "diagonal_offset_std" not in mean


def test_short_texts_are_doubted(run_tables: RunCli) -> None:
    done = run_tables("patterns", "-t", "It was.", "-l", "0")
    said = "note: the texts are too short to tell local or sparse or mixed, which uniform weights nearly are: "
    assert done.err.startswith(said)
    assert not any("local" in row["classes"] for row in rows(done.out))
    assert run_tables("patterns", "-t", "It was.", "--margin", "0", "-l", "0", "-H", "0").err.count("too short") == 0


def test_a_pair_has_segments(run_tables: RunCli) -> None:
    found = rows(
        run_tables(
            "patterns", "-t", TEXT, "--pair", "It was warm there.", "-l", "1", "-H", "0-1", "--shuffles", "0"
        ).out
    )
    assert all(0 < float(row["segment_mass_uniform"]) < 1 for row in found)


def test_a_person_reads_tables(tmp_path: Path) -> None:
    seen = on_terminal(tmp_path, "patterns", "-t", TEXT, "-o", "here", NO_COLOR="1")
    assert "encoder attention, 16 heads" in seen
    assert re.search(r"^diagonal +\d+ +(0\.2|1\.0) ", seen, re.MULTILINE)
    assert "mean distance between the heads of a layer" not in seen
    assert "vertical heads attend to: [CLS] (1)" in seen
    assert "shuffled: the same tokens in another order." in seen
    assert seen.endswith("Wrote here/patterns.png\nWrote here/patterns-examples.png\n")
    seen = on_terminal(tmp_path, "patterns", "-m", "demo:decoder", "--probe", "repeated", "-o", "probe", NO_COLOR="1")
    assert "50 random tokens read twice, mean over 3 seeds" in seen
    assert "difference is what the repetition adds" in " ".join(re.sub(r"\x1b\[[0-9;]*m", " ", seen).split())
    assert re.search(r"^induction  1\.\d +0\.9\d\d +0\.014 +0\.0\d\d$", seen, re.MULTILINE)
    assert seen.endswith("Wrote probe/repeated.json\nWrote probe/repeated.csv\nWrote probe/repeated.png\n")


def test_hostile_text_goes_through_all_files(run_cli: RunCli) -> None:
    Path("text.txt").write_text(" ".join(HOSTILE).replace("\0", "\x01").replace("\n", " ").replace("\r", " "))
    done = run_cli(
        "patterns", "-f", "text.txt", "-l", "0", "-H", "0", "-o", "here", "--format", "svg", "--shuffles", "0"
    )
    assert done.code == 0, done.err
    assert json.loads(Path("here/patterns.json").read_text(encoding="utf-8"))["inputs"][0]["queries"]


# --------------------------------------------------------------------------------------------- the probe


def test_the_probe_needs_no_text(run_cli: RunCli) -> None:
    call = ("patterns", "-m", "demo:decoder", "--probe", "repeated", "--length", "20", "--sequences", "2", "-l", "1")
    done = run_cli(*call, "-o", "here")
    assert (done.code, done.err) == (0, "")
    assert names() == ["manifest.json", "repeated.csv", "repeated.json", "repeated.png"]
    document = json.loads(Path("here/repeated.json").read_text(encoding="utf-8"))
    assert (document["schema"], document["length"], document["seeds"]) == ("attncli.repeated/1", 20, [0, 1])
    assert list(document["numbers"]) == list(SCORES)
    assert len(document["inputs"][0]["queries"]) == 41
    assert document["inputs"][0]["queries"][1:21] == document["inputs"][0]["queries"][21:]
    for row, entry in zip(rows(done.out), document["heads"], strict=True):
        assert all(same(row[name], entry[name]) for name in row)
    assert document["run"]["seed"] == 0
    assert run_cli(*call, "-o", "again", "--json").out == Path("here/repeated.json").read_text(encoding="utf-8")
    for name in ("repeated.csv", "repeated.png"):
        assert Path("again", name).read_bytes() == Path("here", name).read_bytes()


def test_other_lengths_and_heads_are_other_runs(run_cli: RunCli) -> None:
    for length in ("10", "12"):
        call = ("-m", "demo:decoder", "--probe", "repeated", "--length", length, "-l", "1", "-H", "3")
        assert [(row["layer"], row["head"]) for row in rows(run_cli("patterns", *call).out)] == [("1", "3")]
    assert len(list(Path("outputs/patterns/demo-decoder").iterdir())) == 2


BAD = [
    (["-t", TEXT, "--vertical", "0"], "expected --vertical to be above 0 and at most 1, got 0.0"),
    (["-t", TEXT, "--sparse", "1.5"], "expected --sparse to be above 0 and at most 1, got 1.5"),
    (["-t", TEXT, "--margin", "0.9"], "expected --margin from 0 to 0.8, got 0.9"),
    (["-t", TEXT, "--reach", "9"], "expected --reach from 0 to 8 tokens, as far as the metric diagonal goes, got 9"),
    (["-t", TEXT, "--shuffles", "-1"], "expected --shuffles from 0 up, got -1"),
    (["-t", TEXT, "--aggregate", "mean"], "patterns are of single heads: leave out --aggregate and --aggregate-layers"),
    (["-t", TEXT, "--sequences", "4"], "--sequences says how --probe works, which is not given"),
    (["-t", TEXT, "--format", "pgn"], "unknown --format 'pgn': did you mean 'png'?"),
    ([], 'there is no text to read: give --text "…", or --file PATH (--file - is stdin)'),
    (["--probe", "repeatd"], "unknown --probe 'repeatd': did you mean 'repeated'?"),
    (["--probe", "repeated", "-t", TEXT], "reads tokens of its own and gives scores, not classes: leave out --text"),
    (["--probe", "repeated", "--vertical", "0.2"], "gives scores, not classes: leave out --vertical"),
    (["--probe", "repeated", "--save-maps"], "gives scores, not classes: leave out --save-maps"),
    (["--probe", "repeated", "--length", "1"], "expected --length from 2 tokens up, got 1"),
    (["--probe", "repeated", "--sequences", "0"], "expected --sequences from 1 up, got 0"),
    (["--probe", "repeated", "--aggregate", "mean"], "patterns are of single heads"),
    (["--probe", "repeated", "--length", "300"], "the model reads at most 512: pass --length 255 or less"),
    (["--probe", "repeated", "--probe-text", "it"], "passage 0 ('it') has 1 tokens, expected at least 2"),
    (["-t", TEXT, "--probe-text", "it"], "--probe-text says how --probe works, which is not given"),
    (["--probe", "repeated", "--from", "nowhere"], "--from has none: leave one of them out"),
    (["--from", "nowhere", "--shuffles", "2"], "runs the model on shuffled tokens, and --from has none"),
    (["-t", TEXT, "-l", "9"], "layer 9 does not exist: encoder has layers 0-3"),
]


@pytest.mark.parametrize(("args", "said"), BAD, ids=[" ".join(args)[-40:] or "nothing" for args, _ in BAD])
def test_bad_calls_are_one_line_and_leave_nothing(args: list[str], said: str, run_cli: RunCli) -> None:
    done = run_cli("patterns", *args)
    assert (done.code, done.out) == (2, "")
    assert re.fullmatch(r"error: [^\n]+\n", done.err)
    assert said in done.err
    assert list(Path().iterdir()) == []
