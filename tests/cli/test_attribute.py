"""`attncli attribute`: its files, its pictures and tables, and how it refuses what it cannot do."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from rich.console import Console

import attncli
from attncli.studies.attribute import figures
from attncli.studies.attribute.coloured import coloured_text
from attncli.studies.attribute.terminal import attribution_tables
from attncli.studies.highlight.html import text_page

if TYPE_CHECKING:
    from conftest import RunCli

TEXT = "the cat sat on the [MASK] ."


def test_the_files_have_all_methods(run_cli: RunCli) -> None:
    done = run_cli("attribute", "--text", TEXT, "--method", "occlusion, rollout", "--words", "--out", "out")
    assert done.code == 0, done.err
    names = {path.name for path in Path("out").iterdir()}
    files = {"attribution.json", "attribution.csv", "attribution.png", "attribution.html", "attribution-bars.png"}
    assert names == files | {"manifest.json"}
    document = json.loads(Path("out/attribution.json").read_text())
    assert document["schema"] == "attncli.attribute/1"
    assert document["explained"] == {"explain": "next", "score": "ln-probability", "unit": "word"}
    assert [method["baseline"] for method in document["methods"]] == ["mask", None]
    (output,) = document["outputs"]
    assert (output["rows"], len(document["inputs"])) == ([7], 1)
    rows = list(csv.DictReader(io.StringIO(done.out)))
    assert len(rows) == len(document["tokens"]) == 2 * 9
    assert list(rows[0]) == ["method", "output", "prediction", "side", "position", "name", "tokens", "value", "share"]
    for method in ("occlusion", "rollout"):
        shares = [float(row["share"]) for row in rows if row["method"] == method]
        assert sum(map(abs, shares)) == pytest.approx(1, abs=1e-5)
    assert [row["name"] for row in rows if float(row["value"]) == 0] == ["[CLS]", "[MASK]", "[SEP]"]


def test_a_file_of_commands_and_several_predictions(run_cli: RunCli) -> None:
    step = "steps:\n  - attribute:\n      method: gradient-norm\n      explain: generated\n"
    Path("run.yaml").write_text(
        f"model: demo:decoder\ntext: Good lord, good\nout: both\ngenerate: 2\n{step}      special: drop\n"
    )
    done = run_cli("run", "run.yaml")
    assert done.code == 0, done.err
    (path,) = Path("both").rglob("attribution.json")
    document = json.loads(path.read_text())
    assert [output["output"] for output in document["outputs"]] == [0, 1]
    assert path.with_name("attribution-gradient-norm.png").is_file()
    last = document["tokens"][len(document["tokens"]) // 2 - 1]
    assert (last["value"], last["share"]) == (None, None)  # the first token does not read the one after it
    assert not [row for row in document["tokens"] if row["name"] == "<s>"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--text", TEXT, "--text", "b"), 2, "give one text"),
        (("--text", TEXT, "--method", "occlusion,rolout"), 2, "did you mean 'rollout'"),
        (("--text", TEXT, "--method", ""), 2, "unknown --method ''"),
        (("--text", TEXT, "--baseline", "pd"), 2, "did you mean 'pad'"),
        (("--text", TEXT, "--score", "p"), 2, "unknown --score 'p'"),
        (("--text", TEXT, "--steps", "0"), 2, "expected --steps from 1 up"),
        (("--text", TEXT, "--aggregate", "mean"), 2, "leave out --aggregate"),
        (("--text", TEXT, "--explain", "label:GOOD"), 3, "no classifier of texts"),
        (("--text", TEXT, "--explain", "labels"), 3, "no classifier of texts"),
        (("--text", TEXT, "--explain", "word:supercalifragilistic"), 2, "is no token of the vocabulary"),
        (("--text", "[MASK]"), 2, "reads one token or none"),
        (("--text", TEXT, "--divide", "line"), 2, "the text has one segment"),
        (("--text", TEXT, "--max-memory", "1kB"), 2, "allow more with --max-memory"),
        (("--from", "saved"), 2, "a saved run has none"),
        (("--model", "demo:decoder", "--text", "Good lord", "--baseline", "mask"), 2, "has no mask token"),
        (("--model", "demo:seq2seq", "--text", "The cat", "--kind", "encoder", "--method", "rollout"), 2, "no row of"),
    ],
)
def test_what_cannot_be_done_is_one_line(run_cli: RunCli, arguments: tuple[str, ...], code: int, message: str) -> None:
    method = () if "--method" in arguments else ("--method", "occlusion")
    done = run_cli("attribute", *arguments, *method)
    assert (done.code, message in done.err) == (code, True), done.err
    assert len(done.err.strip().splitlines()) == 1


def test_integrated_gradients_name_what_to_install(run_cli: RunCli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    done = run_cli("attribute", "--text", TEXT)
    assert (done.code, "pip install 'attncli[attribution]'" in done.err) == (2, True)


@pytest.fixture(scope="module")
def result() -> attncli.Attribution:
    model = attncli.load("demo:seq2seq")
    return model.attribute("The cat", ["input-x-gradient", "attention-x-gradient"], "answer:ehT")


def test_the_table_of_a_terminal(result: attncli.Attribution) -> None:
    console = Console(file=io.StringIO(), width=80)
    for table in attribution_tables(result):
        console.print(table)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    assert "ehT: ln-probability -0.00" in text
    assert "T (source 0)" in text
    assert max(map(len, text.splitlines())) <= 80
    assert repr(result).splitlines()[0] == "Attribution of 'ehT' (answer:ehT): 11 tokens"


def test_the_text_has_a_colour_for_each_share(result: attncli.Attribution) -> None:
    text = coloured_text(result, model="demo:seq2seq")
    assert (text.signed, [line.caption for line in text.lines]) == (True, ["input-x-gradient", "attention-x-gradient"])
    shares = result.shares("input-x-gradient")
    source, target = text.lines[0].other, text.lines[0].cells
    cells = [cell for cell in (*source, *target) if cell.state == "drawn"]
    np.testing.assert_allclose([cell.weight for cell in cells], shares)
    assert [cell.level > 32 for cell in cells if abs(cell.weight) > 0.02] == (
        shares[np.abs(shares) > 0.02] > 0
    ).tolist()
    assert [cell.text for cell in target if cell.focus] == ["<pad>", "e", "h"]
    assert [cell.state for cell in target if cell.positions][-1] == "unseen"  # T is predicted, but not read
    page = text_page(text)
    assert ".c64 {" in page
    assert f"colours from {text.ticks[0]} to {text.ticks[-1]}" in page


def test_the_pictures_show_the_numbers(result: attncli.Attribution) -> None:
    figure = figures.draw_bars(result, model="demo:seq2seq")
    first, second = figure.axes
    assert [axes.get_title() for axes in (first, second)] == ["input-x-gradient", "attention-x-gradient"]
    widths = [bar.get_width() for bar in first.patches]
    np.testing.assert_allclose(widths, sorted(result.shares("input-x-gradient"), key=lambda share: -abs(share)))
    labels = [label.get_text() for label in first.get_yticklabels()]
    largest = result.units[int(np.abs(result.shares("input-x-gradient")).argmax())]
    assert labels[0].endswith(f"({largest.side} {largest.positions[0]})")
    assert first.get_xlim()[0] < 0 == second.get_xlim()[0]
    outputs = figures.draw_outputs(result, 0)
    (image, *_) = outputs.axes[0].images
    np.testing.assert_allclose(np.asarray(image.get_array())[:, 0], result.shares("input-x-gradient"), atol=2.1e-3)
