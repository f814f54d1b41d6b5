"""`attncli knockout`: its files, its tables, and how it refuses what it cannot do."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

import attncli
from attncli.studies.knockout import figures
from attncli.studies.knockout.terminal import caption, knockout_tables

if TYPE_CHECKING:
    from conftest import RunCli

REPEATED = "good lord look upon the fair city of Rome before good lord look upon the fair city of"
TOKENS = ("--model", "demo:decoder", "--text", REPEATED)


def test_the_files_say_which_token_is_needed(run_cli: RunCli) -> None:
    done = run_cli("knockout", *TOKENS, "--out", "out")
    assert done.code == 0, done.err
    names = {path.name for path in Path("out").iterdir()}
    assert names == {"knockout.json", "knockout.csv", "knockout-layers.csv", "knockout.png", "manifest.json"}
    document = json.loads(Path("out/knockout.json").read_text())
    assert document["schema"] == "attncli.knockout/1"
    assert document["explained"]["prediction"] == "Rome"
    assert document["explained"]["probability"] > 0.99
    (kind,) = document["kinds"]
    assert (kind["kind"], kind["rows"], kind["window_layers"]) == ("decoder", [19], 1)
    rows = list(csv.DictReader(io.StringIO(done.out)))
    assert len(rows) == len(document["keys"]) == 20
    assert (rows[10]["name"], rows[10]["predicted"]) == ("Rome", "the")
    assert float(rows[10]["change"]) < -0.99
    layers = list(csv.DictReader(io.StringIO(Path("out/knockout-layers.csv").read_text())))
    assert len(layers) == 3 * 20
    assert list(layers[0])[:4] == ["kind", "layer", "first_layer", "last_layer"]


def test_the_default_model_predicts_masks_by_the_head_of_its_checkpoint(run_tables: RunCli) -> None:
    done = run_tables(
        "knockout", "--text", "the cat sat on the [MASK] .", "--json", "--layer", "0,1", "--window-layers", "2"
    )
    document = json.loads(done.out)
    assert document["run"]["class"] == "BertForMaskedLM"
    assert [row["last_layer"] - row["first_layer"] for row in document["layers"] if row["key"] == 0] == [0, 1]


def test_a_file_of_segments_and_a_file_of_commands(run_cli: RunCli) -> None:
    Path("documents.json").write_text(
        json.dumps({"first": ["good lord look upon the fair city of Rome"], "second": ["before good"]})
    )
    done = run_cli("knockout", *TOKENS, "--segments", "documents.json", "--json")
    document = json.loads(done.out)
    assert (document["unit"], [row["name"] for row in document["keys"]][:2]) == ("segment", ["first", "second"])
    assert document["keys"][0]["change"] < -0.99
    assert document["keys"][0]["random_ln_change"] is not None
    steps = "steps:\n  - knockout:\n      explain: word:Rome\n      layer: 1\n"
    Path("run.yaml").write_text(f"model: demo:decoder\ntext: {REPEATED}\nout: both\n{steps}")
    done = run_cli("run", "run.yaml")
    assert done.code == 0, done.err
    (path,) = Path("both").rglob("knockout.json")
    assert {row["layer"] for row in json.loads(path.read_text())["layers"]} == {1}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--text", "a [MASK]", "--text", "b"), 2, "give one text"),
        (("--text", "a [MASK]", "--explain", "nxt"), 2, "did you mean 'next'"),
        (("--text", "a cat"), 2, "predicts words in the place of [MASK]"),
        (("--text", "a [MASK]", "--explain", "answer:cat"), 3, "continues no text"),
        (("--text", "a [MASK]", "--aggregate", "mean"), 2, "leave out --aggregate"),
        (("--text", "a [MASK]", "--window-layers", "0"), 2, "--window-layers"),
        (("--text", "a [MASK]", "--query", "zebra"), 2, "does not occur in the text"),
        (("--text", "a [MASK]", "--divide", "line"), 2, "the text has one segment"),
        (("--text", "a [MASK]", "--head", "base"), 3, "predicts nothing"),
        (("--text", "a [MASK]", "--max-memory", "1kB"), 2, "allow more with --max-memory"),
        (("--from", "saved"), 2, "a saved run has none"),
        (
            ("--model", "demo:seq2seq", "--text", "The cat", "--kind", "encoder"),
            2,
            "no row of encoder attention predicts",
        ),
    ],
)
def test_what_cannot_be_done_is_one_line(
    run_tables: RunCli, arguments: tuple[str, ...], code: int, message: str
) -> None:
    done = run_tables("knockout", *arguments)
    assert done.code == code
    assert message in done.err
    assert len(done.err.strip().splitlines()) == 1


def test_the_tables_of_a_terminal_and_the_picture() -> None:
    model = attncli.load("demo:seq2seq")
    result = model.knockout("The cat", "answer:ehT")
    console = Console(file=io.StringIO(), width=80)
    for table in knockout_tables(result):
        console.print(table)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    assert "cross attention: p(ehT) = 0.99" in text
    assert "T (0)" in text
    assert max(map(len, text.splitlines())) <= 80
    assert "from 3 tokens. " in caption(result, "cross")
    for kind in result.kinds:
        figure = figures.draw(result, kind, model="demo:seq2seq")
        labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
        assert labels == [*map(str, result.grid(kind)[0]), "all layers"]
        assert figure.axes[0].get_xticklabels()[0].get_text().endswith("(0)")
    assert repr(result).splitlines()[0].startswith("Knockout of 'ehT' (answer:ehT), probability 0.99")
    assert len(result.to_frame()) == len(result.keys["kind"])
    assert len(result.layers_frame()) == len(result.grid(result.kinds[0])[0]) * len(result.keys["kind"])
