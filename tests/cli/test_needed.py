"""`attncli faithfulness --needed`: its files, what it says, and how it refuses what it cannot do."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

import attncli
from attncli.studies.faithfulness.needed.result import Needed
from attncli.studies.faithfulness.needed.terminal import needed_table

if TYPE_CHECKING:
    from conftest import RunCli

CLASSIFIER = ("faithfulness", "--model", "demo:classifier")
QUICK = ("--method", "attention", "--removal", "delete", "--draws", "1", "--no-pictures")
TEXT = "I saw a chosen cat and some soup."


def test_one_of_its_options_is_enough_and_the_files_have_it(run_cli: RunCli) -> None:
    options = ("--layer", "3", "--head", "0-1", "--permutations", "3", "--adversarial-steps", "2")
    done = run_cli(*CLASSIFIER, "-t", TEXT, *QUICK, *options, "--seed-models", "demo:classifier", "--out", "out")
    assert done.code == 0, done.err
    assert "1 model of another seed" in " ".join(json.loads(Path("out/faithfulness.json").read_text())["summary"])
    document = json.loads(Path("out/faithfulness.json").read_text())["needed"]
    assert document["heads"] == [{"kind": "encoder", "layer": 3, "heads": [0, 1]}]
    assert (document["permutations"], document["adversarial_steps"], document["epsilon"]) == (3, 2, 0.05)
    (seed,), (text,) = document["seeds"], document["texts"]
    assert (seed["model"], seed["tvd"], seed["jsd"]) == ("demo:classifier", pytest.approx(0), pytest.approx(0))
    assert (text["prediction"], text["adversarial_tvd"] <= 0.05) == ("animal", True)
    names = [f"out/faithfulness-needed{end}.csv" for end in ("", "-means", "-seeds")]
    assert all(Path(name).is_file() for name in names)
    assert not run_cli(*CLASSIFIER, "-t", TEXT, *QUICK, "--out", "plain").code
    assert not list(Path("plain").glob("*needed*"))
    assert "needed" not in json.loads(Path("plain/faithfulness.json").read_text())


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--permutations", "0"), 2, "expected --permutations as a number from 1 up, got 0"),
        (("--adversarial-steps", "-1"), 2, "expected --adversarial-steps as a number from 0 up, got -1"),
        (("--epsilon", "1.5"), 2, "expected --epsilon as a number between 0 and 1, got 1.5"),
        (("--epsilon", "nan"), 2, "expected --epsilon as a number between 0 and 1, got nan"),
        (("--seed-models", " ,"), 2, "--seed-models is empty"),
        (
            ("--seed-models", "demo:encoder"),
            2,
            "--seed-models: demo:encoder is a BertForMaskedLM, expected a BertForSequenceClassification",
        ),
        (("--seed-models", "no-such-folder/x"), 3, "no-such-folder"),
        (("--needed", "--head", "9"), 2, "head"),
        (("-m", "demo:seq2seq", "--kind", "decoder", "--needed"), 2, "the rows that predict see one key"),
    ],
)
def test_what_cannot_be_done_is_one_line(run_cli: RunCli, options: tuple[str, ...], code: int, message: str) -> None:
    done = run_cli(*CLASSIFIER, "-t", TEXT, *QUICK, *options)
    assert (done.code, message in done.err) == (code, True), done.err
    assert len(done.err.strip().splitlines()) == 1
    assert "unexpected" not in done.err


@pytest.fixture(scope="module")
def result() -> Needed:
    model = attncli.load("demo:classifier", head="auto-head")
    options = {"layer": 0, "permutations": 2, "adversarial_steps": 0}
    found = model.faithfulness([TEXT], "attention", removal="delete", draws=1, **options).parts["needed"]  # type: ignore[arg-type]
    assert isinstance(found, Needed)
    return found


def test_without_steps_nothing_is_said_of_adversarial_weights(result: Needed) -> None:
    assert not [name for name in result.of_texts if "adversarial" in name]
    permuted, yardstick = result.sentences
    assert "all 4 heads of layer 0" in permuted
    assert "(median of 2 permutations, on this text)" in permuted
    assert "The yardstick is missing" in yardstick
    assert result.notes == ()
    assert repr(result).startswith(
        "Other weights of all 4 heads of layer 0 on 1 text\n  change of the output: permuted "
    )
    console = Console(file=io.StringIO(), width=80)
    console.print(needed_table(result))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert max(map(len, lines)) <= 80
    (uniform,) = [line for line in lines if line.startswith("uniform weights")]
    assert uniform.split()[-1] == f"{float(result.of_texts['uniform_tvd'][0]):.3f}"
