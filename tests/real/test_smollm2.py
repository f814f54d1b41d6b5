"""What attncli says of a real language model: SmolLM2-135M-Instruct, a Llama with 30 layers x 9 heads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import attncli
from attncli.data import Text

if TYPE_CHECKING:
    from conftest import RunCli

pytestmark = pytest.mark.real

TEXT = "The animal didn't cross the street because it was too tired."
QUESTION = "What is the capital of France?"
CHAT = Text(QUESTION, messages=({"role": "user", "content": QUESTION},))


@pytest.fixture(scope="module")
def model(smollm2: Path) -> attncli.Model:
    return attncli.load(str(smollm2), head="causal-lm", dtype="float32", device="cpu")


def test_it_answers_a_question(model: attncli.Model) -> None:
    read = model.run(CHAT, generate=12, layer=0).inputs[0].source
    assert model.loaded.tokenizer.decode(read.ids).endswith("assistant\nThe capital of France is Paris.<|im_end|>")


def test_streamed_weights_equal_eager_weights(model: attncli.Model) -> None:
    streamed, eager = (model.run(TEXT, capture=route) for route in ("stream", "eager"))
    assert (streamed.info.capture, eager.info.capture) == ("stream", "eager")
    layers = zip(streamed.attention("decoder").layers, eager.attention("decoder").layers, strict=True)
    differences = [np.abs(one.weights - other.weights).max() for one, other in layers]
    assert len(differences) == 30
    assert max(differences) < 1e-5


def test_the_answer_to_a_chat_is_a_segment(smollm2: Path, run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "chat.json").write_text(json.dumps([{"role": "user", "content": QUESTION}]))
    done = run_cli("segments", "-m", smollm2, "--chat", "chat.json", "--generate", "12", "--json", "--format", "json")
    assert done.code == 0, done.err
    document = json.loads(done.out)
    assert {row["from"] for row in document["mean"]} == {"user", "assistant", "generated", "special"}
    written = {row["query"]: row["token"] for row in document["tokens"]}
    assert list(written.values()) == ["The", "capital", "of", "France", "is", "Paris", "."]


def test_heads_look_for_an_earlier_copy(model: attncli.Model) -> None:
    found = model.probe_repeated(sequences=2)
    induction, chance = found.heads["induction"].values, found.baselines["uniform"]["induction"].values
    assert induction.shape == (30 * 9,)
    assert np.sum(induction > 0.5) > 5
    assert chance.max() < 0.1


def test_the_file_and_the_folder_made_of_it_agree(smollm2: Path, smollm2_gguf: Path) -> None:
    runs = [attncli.load(str(path), dtype="bfloat16", device="cpu").run(TEXT) for path in (smollm2, smollm2_gguf)]
    assert runs[0].inputs[0].source.ids.tolist() == runs[1].inputs[0].source.ids.tolist()
    assert runs[1].info.notes[0].startswith("the GGUF file stores 210 tensors as Q4_1, 61 as F32, 1 as Q8_0")
    layers = zip(*(run.attention("decoder").layers for run in runs), strict=True)
    assert max(np.abs(one.weights - other.weights).max() for one, other in layers) == 0
