"""The probe of repeated tokens over checkpoints, on passages of the user, with losses, and in decoders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import torch

import attncli
from attncli.engine.checkpoints import find_checkpoints, is_pattern
from attncli.errors import UsageError
from attncli.inputs.repeated_inputs import RepeatedTokens

if TYPE_CHECKING:
    from conftest import RunCli


@pytest.fixture(scope="module")
def decoder() -> attncli.Model:
    return attncli.load("demo:decoder", head="auto-lm")


def test_losses_of_both_copies_are_those_of_a_plain_forward_pass(decoder: attncli.Model) -> None:
    losses = decoder.probe_repeated(length=12, sequences=2).losses
    assert losses is not None
    tokens = RepeatedTokens.of(decoder.loaded)
    for number, passage in enumerate(tokens.random(12, [0, 1])):
        ids = torch.tensor([[*tokens.start, *passage.ids, *passage.ids]])
        model: Any = decoder.loaded.model
        with torch.no_grad():
            logits = model(ids).logits[0].double()
        expected = [
            np.mean([-logits[at - 1].softmax(-1)[ids[0, at]].log().item() for at in range(first, first + 12)])
            for first in (1, 13)
        ]
        assert [losses.first[number], losses.second[number]] == pytest.approx(expected, rel=1e-4)
    assert losses.means()["second"] < 1 < losses.means()["first"]


def test_passages_of_the_user_are_read_twice(run_cli: RunCli) -> None:
    Path("passage.txt").write_text("the cat sat\non the mat\n", encoding="utf-8")
    call = ("patterns", "--probe", "repeated", "-m", "demo:decoder", "--probe-text", "it was warm", "--probe-text")
    done = run_cli(*call, "@passage.txt", "-o", "here")
    assert done.code == 0, done.err
    document = json.loads(Path("here/repeated.json").read_text(encoding="utf-8"))
    assert document["passages"] == ["it was warm", "the cat sat\non the mat"]
    assert (document["seeds"], document["length"], len(document["lengths"])) == ([], None, 2)
    assert document["loss"]["second"] < document["loss"]["first"]
    for entry, length in zip(document["inputs"], document["lengths"], strict=True):
        assert entry["queries"][1 : 1 + length] == entry["queries"][1 + length :]
    assert run_cli(*call, "@nowhere.txt").err.startswith("error: no such file: nowhere.txt")
    done = run_cli(*call, "it was", "--length", "4")
    assert (done.code, "--length is about random tokens, --probe-text gives passages" in done.err) == (2, True)


def test_the_decoder_of_an_encoder_decoder_is_probed(run_cli: RunCli) -> None:
    call = ("patterns", "--probe", "repeated", "-m", "demo:seq2seq", "--length", "6", "--sequences", "2", "--json")
    done = run_cli(*call)
    assert "note: the decoder reads the passages that come twice, the encoder other random tokens" in done.err
    document = json.loads(done.out)
    assert {head["kind"] for head in document["heads"]} == {"decoder"}
    assert document["loss"]["first"] > 0
    done = run_cli(*call, "--kind", "cross")
    assert (done.code, "leave out --kind, or name decoder" in done.err) == (2, True)


def test_a_model_without_a_language_model_head_has_no_loss(run_cli: RunCli) -> None:
    done = run_cli("patterns", "--probe", "repeated", "--length", "4", "--sequences", "1", "--json")
    assert "note: no losses of the two copies: BertModel is an encoder, whose tokens see those after them" in done.err
    assert json.loads(done.out)["loss"] is None


def test_checkpoints_are_probed_in_the_order_of_their_steps(
    run_cli: RunCli, checkpoints: Path, decoder: attncli.Model
) -> None:
    call = ("patterns", "--probe", "repeated", "--length", "12", "--sequences", "1", "-o", "here", "-m")
    done = run_cli(*call, f"{checkpoints}/checkpoint-*")
    assert done.code == 0, done.err
    steps = pd.read_csv("here/repeated-checkpoints.csv", dtype={"induction_head": str})
    assert done.out == Path("here/repeated-checkpoints.csv").read_text(encoding="utf-8")
    assert steps["step"].tolist() == [3, 20, 100]
    assert steps["first_loss"][0] == pytest.approx(np.log(1024), rel=1e-4)  # zero weights: all tokens are alike
    alone = decoder.probe_repeated(length=12, sequences=1)
    assert steps["induction"][2] == pytest.approx(alone.best("induction")[0][1], rel=1e-4)
    assert steps["induction_head"][2] == alone.best("induction")[0][0]
    heads = pd.read_csv("here/repeated.csv")
    assert heads["checkpoint"].value_counts().to_dict() == {f"checkpoint-{step}": 24 for step in (3, 20, 100)}
    document = json.loads(Path("here/repeated.json").read_text(encoding="utf-8"))
    assert [entry["step"] for entry in document["checkpoints"]] == [3, 20, 100]
    assert Path("here/repeated.png").stat().st_size > 10_000


def test_patterns_that_match_no_checkpoints_of_one_model_are_one_line(
    run_cli: RunCli, demo_dirs: dict[str, Path]
) -> None:
    call = ("patterns", "--probe", "repeated", "--length", "4", "--sequences", "1", "-m")
    done = run_cli(*call, "nowhere/*")
    assert done.err == (
        "error: --model 'nowhere/*' is a pattern of model folders, but nothing matches: give another pattern\n"
    )
    assert done.code == 2
    Path("empty").mkdir()
    assert "its match holds no config.json" in run_cli(*call, "em*").err
    done = run_cli(*call, f"{demo_dirs['encoder'].parent}/*coder")
    assert (done.code, "expected checkpoints of one model" in done.err) == (2, True)


def test_checkpoints_without_numbers_come_last(tmp_path: Path) -> None:
    for name in ("best", "step-10", "step-9"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}", encoding="utf-8")
    found = find_checkpoints(f"{tmp_path}/*")
    assert [(checkpoint.name, checkpoint.step) for checkpoint in found] == [
        ("step-9", 9),
        ("step-10", 10),
        ("best", None),
    ]
    assert is_pattern(f"{tmp_path}/*")
    assert not is_pattern(str(tmp_path))
    with pytest.raises(UsageError, match="nothing matches"):
        find_checkpoints(f"{tmp_path}/x*")
