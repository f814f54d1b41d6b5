"""The options that edit attention, in commands, in files of `attncli run`, and for B of `attncli compare`."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import attncli

if TYPE_CHECKING:
    from conftest import RunCli

DECODER = ("--model", "demo:decoder", "--text", "the cat sat on the mat")


def heads(out: str) -> dict[tuple[str, str], dict[str, str]]:
    return {(row["layer"], row["head"]): row for row in csv.DictReader(out.splitlines())}


def test_stats_follow_an_edit_and_name_it(run_cli: RunCli, tmp_path: Path) -> None:
    command = ("stats", *DECODER, "--metric", "entropy_normalized")
    edited = run_cli(*command, "--uniform", "1.2,1.3", "--zero", "0.1", "-o", "e")
    plain = run_cli(*command, "-o", "p")
    assert (edited.code, plain.code) == (0, 0), edited.err
    with_edits, without = heads(edited.out), heads(plain.out)
    for key, row in with_edits.items():
        value, before = float(row["entropy_normalized"]), float(without[key]["entropy_normalized"])
        if key in {("1", "2"), ("1", "3")}:
            assert value == pytest.approx(1)
        elif key[0] == "0":
            assert value == pytest.approx(before, abs=1e-4)  # edits of outputs show in the layers above
    assert with_edits["1", "0"] != without["1", "0"]
    documents = [json.loads((tmp_path / folder / "stats.json").read_text()) for folder in ("e", "p")]
    assert documents[0]["run"]["resolved"]["edits"] == ["zero 0.1", "uniform 1.2,1.3"]
    assert "edits" not in documents[1]["run"]["resolved"]


@pytest.mark.parametrize(
    ("command", "more"),
    [
        ("heatmap", ("--layer", "1", "--head", "3", "--format", "svg")),
        ("view", ()),
        ("highlight", ("--focus", "mat", "--layer", "1")),
        ("find", ("--query", "mat", "--key", "cat")),
        ("segments", ("--generate", "2", "--layer", "1")),
        ("patterns", ("--shuffles", "0", "--head", "0-1")),
    ],
)
def test_every_command_that_reads_texts_edits(
    command: str, more: tuple[str, ...], run_cli: RunCli, tmp_path: Path
) -> None:
    # --block is a threshold of patterns
    block = ("--block", "0.4", "--edit", "block mat->cat@0-1") if command == "patterns" else ("--block", "mat->cat@0-1")
    done = run_cli(command, *DECODER, *more, *block, "--edit", "temperature 2@1.3", "-o", "out")
    assert done.code == 0, done.err
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["run"]["resolved"]["edits"] == ["block mat->cat@0-1", "temperature 2@1.3"]
    assert manifest["run"]["resolved"].get("block") == (0.4 if command == "patterns" else None)
    if command == "find":
        rows = heads(done.out)
        assert all(float(row["weight"]) == 0 for (layer, _), row in rows.items() if layer in "01")
        assert any(float(row["weight"]) > 0 for (layer, _), row in rows.items() if layer == "2")


def test_compare_edits_b(run_tables: RunCli, tmp_path: Path) -> None:
    command = ("compare", "demo:decoder", "--text", "the cat sat", "--layer", "0", "--metric", "entropy")
    Path("texts.txt").write_text("a dog\nthe mat\n", encoding="utf-8")
    done = run_tables(
        *command, "--edit-b", "uniform 0.1", "--edit-b", "mean 0.2", "--mean-file", "texts.txt", "-o", "out"
    )
    assert done.code == 0, done.err
    resolved = json.loads((tmp_path / "out" / "compare.json").read_text())["run"]["resolved"]
    assert "mean_texts" not in resolved
    assert len(resolved["b"]["mean_texts"]) == 64
    rows = heads(done.out)
    assert float(rows["0", "1"]["js_distance"]) > 0.1
    assert float(rows["0", "0"]["js_distance"]) == pytest.approx(0, abs=1e-3)
    both = run_tables(*command, "--edit", "window 2", "--edit-b", "none", "-o", "two")
    assert both.code == 0, both.err
    resolved = json.loads((tmp_path / "two" / "compare.json").read_text())["run"]["resolved"]
    assert resolved["edits"] == ["window 2"]
    assert not resolved["b"].get("edits")


def test_a_file_of_run_edits_models(run_cli: RunCli, tmp_path: Path) -> None:
    Path("plan.yaml").write_text(
        "models:\n  - demo:decoder\n  - {model: demo:decoder, name: edited, zero: [0.1, '2'], block: the->cat,"
        " uniform: 1.0, mean: 1.1, mean-file: texts.txt, edit: window 3@1}\n"
        "text: the cat sat\nout: made\nsteps:\n  - stats: {metric: entropy_normalized}\n"
    )
    Path("texts.txt").write_text("a dog\nthe mat\n", encoding="utf-8")
    done = run_cli("run", "plan.yaml")
    assert done.code == 0, done.err
    (document,) = (json.loads(path.read_text()) for path in Path("made/edited").rglob("stats.json"))
    lines = ["zero 0.1", "zero 2", "mean 1.1", "block the->cat", "uniform 1.0", "window 3@1"]
    assert document["run"]["resolved"]["edits"] == lines
    with attncli.load("demo:decoder").edited(
        attncli.zero("0.1,2"),
        attncli.mean("1.1", over=["a dog", "the mat"]),
        attncli.block("the", "cat"),
        attncli.uniform("1.0"),
        attncli.window(3, "1"),
    ) as edited:
        (expected,) = edited.run("the cat sat").stats("entropy_normalized").heads.values()
    found = [row["entropy_normalized"] for row in document["heads"]]
    np.testing.assert_allclose(np.array(found, float), expected.values, atol=1e-6)


def test_a_saved_run_keeps_the_edits_in_its_title(run_cli: RunCli, tmp_path: Path) -> None:
    assert run_cli("stats", *DECODER, "--metric", "sink", "--zero", "0", "--save-maps", "-o", "saved").code == 0
    done = run_cli("heatmap", "--from", "saved", "--layer", "1", "--head", "0", "--format", "svg", "-o", "drawn")
    assert done.code == 0, done.err
    assert "zero 0" in (tmp_path / "drawn" / "manifest.json").read_text()
    assert attncli.open("saved").info.title == "demo:decoder (zero 0)"


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--zero", "9.1"), 2, "zero 9.1: layer 9 does not exist"),
        (("--zero", "three"), 2, "--zero three: expected heads like"),
        (("--edit", "block dog->cat"), 2, "block dog->cat: 'dog' does not occur"),
        (("--edit", "block mat"), 2, "expected block QUERY->KEY"),
        (("--edit", "temperature 0@1"), 2, "positive number"),
        (("--edit", "window two"), 2, "expected window as a number"),
        (("--block", "mat"), 2, "--block mat: expected block QUERY->KEY"),
        (("--uniform", "9"), 2, "uniform 9: layer 9 does not exist"),
        (("--zero", "1", "--mean-file", "texts.txt"), 2, "--mean-file has texts for --mean"),
        (("--mean", "1", "--mean-file", "texts.txt"), 2, "no such file: texts.txt"),
        (("--edit", "erase 1"), 2, "--edit 'erase 1': unknown edit 'erase'"),
        (("--mean", "1", "--generate", "2"), 2, "not written yet"),
        (("--from", "saved"), 2, "--from takes the place"),
    ],
)
def test_wrong_edits_end_in_one_line(options: tuple[str, ...], code: int, message: str, run_cli: RunCli) -> None:
    texts = ("--zero", "1") if options[0] == "--from" else DECODER
    done = run_cli("stats", *texts, *options)
    assert done.code == code
    assert message in done.err
    assert len(done.err.strip().splitlines()) == 1


def test_a_layer_that_cannot_be_edited_is_refused_with_code_3(run_tables: RunCli, tmp_path: Path) -> None:
    import families

    folder = tmp_path / "longformer"
    families.save(families.FAMILIES["longformer"], folder)
    done = run_tables("stats", "--model", folder, "--text", "the cat saw a dog", "--edit", "uniform 0")
    assert done.code == 3
    assert "band around each query" in done.err
