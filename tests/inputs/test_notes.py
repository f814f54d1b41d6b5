"""Notes on inputs that are read, but hardly as the user wants."""

from __future__ import annotations

import shutil
from pathlib import Path

import huggingface_hub
import pytest
from tokenizers import Tokenizer
from tokenizers import models as vocabularies
from transformers import PreTrainedTokenizerFast

import attncli
from attncli import models
from attncli.data import Text
from attncli.inputs.encode import encode


def notes(loaded: models.Loaded, *texts: Text) -> list[str]:
    """Return the notes on texts, without that on a generated target."""
    return [note for batch in encode(loaded, texts) for note in batch.notes if "generated" not in note]


@pytest.fixture(scope="module")
def decoder() -> models.Loaded:
    return models.load("demo:decoder", device="cpu")


@pytest.fixture(scope="module")
def seq2seq() -> models.Loaded:
    return models.load("demo:seq2seq", device="cpu")


def test_a_start_token_that_comes_twice_gets_a_note(decoder: models.Loaded) -> None:
    assert notes(decoder, Text("two cats")) == []
    twice = "text 0 begins with <s> twice: leave it out, the tokenizer adds its own"
    assert notes(decoder, Text("<s>two cats")) == [twice]
    texts = [Text("a cat"), Text("<s>two cats"), Text("<s>a")]
    assert notes(decoder, *texts) == [twice.replace("0", "1") + " (and 1 more texts)"]
    ids = decoder.tokenizer("<s>two cats")["input_ids"]
    assert twice in attncli.capture(decoder.model, {"input_ids": [ids]}, decoder.tokenizer, layer=0).info.notes


def test_texts_that_are_mostly_unknown_get_a_note(seq2seq: models.Loaded) -> None:
    assert notes(seq2seq, Text("two cats", target="owt")) == []
    found = notes(seq2seq, Text("два щенка", target="щенки два"))
    assert found == [
        "8 of 9 tokens of text 0 are unknown to the tokenizer: is this the right tokenizer?",
        "8 of 9 tokens of the target of text 0 are unknown to the tokenizer: "
        "name the tokenizer of the decoder with --target-tokenizer",
    ]


def test_a_generated_target_that_its_tokenizer_does_not_know_gets_a_note(seq2seq: models.Loaded) -> None:
    tokenizer = Tokenizer(vocabularies.WordLevel({"<unk>": 0, "the": 1}, "<unk>"))
    other = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")
    unfit = models.Loaded(seq2seq.model, seq2seq.tokenizer, other, "demo:seq2seq")
    found = notes(unfit, Text("two cats"))
    assert [note.partition(" tokens ")[2] for note in found] == [
        "of the target of text 0 are unknown to the tokenizer: "
        "name the tokenizer of the decoder with --target-tokenizer",
    ]


@pytest.mark.parametrize("name", ["target_tokenizer", "decoder"])
def test_a_second_tokenizer_in_the_folder_gets_a_note(demo_dirs: dict[str, Path], tmp_path: Path, name: str) -> None:
    folder = tmp_path / "model"
    shutil.copytree(demo_dirs["seq2seq"], folder)
    (folder / name).mkdir()
    shutil.copy(demo_dirs["seq2seq"] / "tokenizer.json", folder / name)
    text = Text("two cats", target="owt")
    assert notes(models.load(str(folder), device="cpu"), text) == []  # the same tokenizer twice
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(demo_dirs["decoder"] / file, folder / name)
    expected = f"the model has a second tokenizer ({name}), but one tokenizer reads texts and targets: "
    assert notes(models.load(str(folder), device="cpu"), text) == [
        expected + "name that of targets with --target-tokenizer"
    ]
    loaded = models.load(str(folder), device="cpu", target_tokenizer=str(folder / name))
    assert notes(loaded, text) == []


def test_a_second_tokenizer_of_a_cached_hub_model_gets_a_note(
    demo_dirs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository, commit = tmp_path / "models--owner--two", "1" * 40
    snapshot = repository / "snapshots" / commit
    shutil.copytree(demo_dirs["seq2seq"], snapshot)
    shutil.copytree(demo_dirs["decoder"], snapshot / "target_tokenizer")
    (repository / "refs").mkdir()
    (repository / "refs" / "v1").write_text(commit)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    loaded = models.load("owner/two", revision="v1", device="cpu")
    (note,) = notes(loaded, Text("two cats", target="owt"))
    assert note.startswith("the model has a second tokenizer (target_tokenizer), but one tokenizer reads")
    assert models.local_folder("owner/none") is None
