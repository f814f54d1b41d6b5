"""`--add-bos`: texts begin with the start token also where the tokenizer adds none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from transformers import AutoTokenizer

import attncli
from attncli.errors import UsageError

if TYPE_CHECKING:
    from conftest import RunCli

TEXT = "The cat sat on the mat."
LEAN = {"layer": 1, "head": 0}


@pytest.fixture(scope="module")
def bare(demo_dirs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> str:
    """The tokenizer of the bundled decoder as one that adds no start token."""
    folder = tmp_path_factory.mktemp("bare")
    AutoTokenizer.from_pretrained(demo_dirs["decoder"]).save_pretrained(folder)
    path = folder / "tokenizer.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "post_processor": None}))
    return str(folder)


@pytest.fixture(scope="module")
def model(bare: str) -> attncli.Model:
    return attncli.load("demo:decoder", tokenizer=bare, head="causal-lm")


@pytest.fixture(scope="module")
def usual() -> attncli.Model:
    """The same model with its own tokenizer, which adds the start token."""
    return attncli.load("demo:decoder", head="causal-lm")


def test_the_model_reads_what_a_tokenizer_gives_that_adds_it(model: attncli.Model, usual: attncli.Model) -> None:
    own, without, added = (
        usual.run(TEXT, **LEAN),
        model.run(TEXT, **LEAN),
        model.run(TEXT, add_bos=True, **LEAN),
    )
    ids = [run.inputs[0].source.ids.tolist() for run in (own, without, added)]
    assert ids[1] == ids[0][1:]
    assert ids[2] == ids[0]
    source, expected = added.inputs[0].source, own.inputs[0].source
    assert source.pieces == expected.pieces
    assert source.words.tolist() == expected.words.tolist()
    assert source.offsets.tolist() == expected.offsets.tolist()
    assert source.special.tolist() == expected.special.tolist()
    np.testing.assert_array_equal(added.attention().layers[0].weights, own.attention().layers[0].weights)


def test_a_longest_text_counts_the_start_token(model: attncli.Model, usual: attncli.Model) -> None:
    own = usual.run(TEXT, max_tokens=5, **LEAN)
    added = model.run(TEXT, add_bos=True, max_tokens=5, **LEAN)
    assert added.inputs[0].source.ids.tolist() == own.inputs[0].source.ids.tolist()
    assert len(added.inputs[0].source) == 5


def test_the_prompt_of_generated_tokens_begins_with_it(model: attncli.Model, usual: attncli.Model) -> None:
    own = usual.run(TEXT, generate=3, **LEAN)
    added = model.run(TEXT, add_bos=True, generate=3, **LEAN)
    assert added.inputs[0].source.ids.tolist() == own.inputs[0].source.ids.tolist()


def test_a_text_that_begins_with_it_stays_as_it_is(run_cli: RunCli) -> None:
    done = run_cli("stats", "-m", "demo:decoder", "-t", TEXT, "-t", "Two.", "--metric", "sink", "--add-bos", "--json")
    assert done.err == "note: --add-bos: texts begin with <s> already\n"
    document = json.loads(done.out)
    assert document["inputs"][0]["queries"].count("<s>") == 1
    assert document["run"]["resolved"]["add_bos"] is True
    plain = json.loads(run_cli("stats", "-m", "demo:decoder", "-t", TEXT, "--metric", "sink", "--json").out)
    assert "add_bos" not in plain["run"]["resolved"]


def test_the_command_line_and_a_file_add_it(bare: str, run_cli: RunCli) -> None:
    model = ("-m", "demo:decoder", "--tokenizer", bare)
    found = json.loads(run_cli("stats", *model, "-t", TEXT, "--metric", "sink", "--add-bos", "--json").out)
    assert found["inputs"][0]["queries"][0] == "<s>"
    Path("run.yaml").write_text(
        f"model: demo:decoder\ntokenizer: {bare}\ntext: {TEXT}\nadd-bos: true\nsteps: [stats: {{metric: sink}}]\n"
    )
    assert run_cli("run", "run.yaml", "-o", "here").code == 0
    assert json.loads(Path("here/demo-decoder/000/stats/stats.json").read_text())["heads"] == found["heads"]


def test_a_text_without_special_tokens_has_none_to_drop(model: attncli.Model) -> None:
    plain, dropped, started = (
        model.run(TEXT, special=special, add_bos=bos, **LEAN)
        for special, bos in (("keep", False), ("drop", False), ("drop", True))
    )
    np.testing.assert_allclose(
        dropped.attention().layers[0].weights, plain.attention().layers[0].weights, rtol=1e-6, atol=1e-7
    )
    assert dropped.info.notes == ("there are no special tokens, so --special drop changes nothing",)
    started.keep()
    assert "special tokens took " in started.info.notes[0]


def test_a_tokenizer_without_one_is_refused(run_cli: RunCli) -> None:
    done = run_cli("stats", "-m", "demo:seq2seq", "-t", "one", "--add-bos")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: --add-bos: ")
    assert "has no start token (bos_token, cls_token): leave it out" in done.err
    with pytest.raises(UsageError, match="add_bos are for texts"):
        attncli.capture(object(), {"input_ids": [[1]]}, add_bos=True)
