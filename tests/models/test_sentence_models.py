"""Folders of sentence-transformers load, and their limit of tokens is respected with a note."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

import attncli
from attncli.errors import ModelError

if TYPE_CHECKING:
    from conftest import RunCli

TEXT = "The cat sat on the mat."


@pytest.fixture(scope="module")
def old_layout(minilm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model in the folders that older versions of sentence-transformers wrote: config.json in 0_Transformer."""
    folder = tmp_path_factory.mktemp("sentence")
    (folder / "0_Transformer").mkdir()
    modules = json.loads((minilm / "modules.json").read_text())
    modules[0]["path"] = "0_Transformer"
    (folder / "modules.json").write_text(json.dumps(modules))
    names = ("config.json", "model.safetensors", "sentence_bert_config.json", "tokenizer.json", "tokenizer_config.json")
    for name in names:
        shutil.copy(minilm / name, folder / "0_Transformer")
    return folder


def test_a_transformer_in_a_subfolder_gives_the_same_maps(old_layout: Path, minilm: Path) -> None:
    models = [attncli.load(str(folder)) for folder in (old_layout, minilm)]
    assert [model.loaded.sentence.limit for model in models] == [256, 256]
    first, second = (model.run(TEXT, layer=5).attention().layers[0].weights for model in models)
    np.testing.assert_array_equal(first, second)


def test_longer_texts_are_cut_to_the_limit_with_a_note(minilm: Path, run_cli: RunCli) -> None:
    options = ("stats", "-m", minilm, "-t", "cat " * 300, "-t", "dog", "--metric", "entropy", "--head", "0", "--json")
    cut = run_cli(*options)
    note = "text 0 has 302 tokens; sentence-transformers cuts it to 256 (max_seq_length), and so does attncli: "
    assert f"{note}--max-tokens 302 reads all" in cut.err
    assert [len(text["keys"]) for text in json.loads(cut.out)["inputs"]] == [256, 3]
    more = run_cli(*options, "--max-tokens", "300")
    assert "text 0 has 300 tokens; sentence-transformers cuts it to 256 (max_seq_length), attncli does not" in more.err
    assert [len(text["keys"]) for text in json.loads(more.out)["inputs"]] == [300, 3]
    assert "cuts" not in run_cli(*options[:3], "-t", "cat", *options[7:]).err
    beyond = run_cli(*options[:3], "-t", "cat " * 600, *options[7:])
    assert (beyond.code, beyond.out) == (2, "")
    assert "has 602 tokens, the model reads at most 512" in beyond.err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"modules.json": "["}, r"modules\.json of '.*' is not valid JSON"),
        (
            {"modules.json": json.dumps([{"path": "0_Words", "type": "sentence_transformers.models.WordEmbeddings"}])},
            r"its first module is sentence_transformers\.models\.WordEmbeddings, which is no Transformers model",
        ),
        ({"0_Transformer/sentence_bert_config.json": '{"max_seq_length": "x"}'}, "max_seq_length in .* is 'x'"),
    ],
)
def test_broken_folders_are_reported_in_one_line(
    change: dict[str, str], message: str, old_layout: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(old_layout, tmp_path / "broken", copy_function=_link))
    for name, content in change.items():
        (folder / name).unlink()
        (folder / name).write_text(content)
    with pytest.raises(ModelError, match=message):
        attncli.load(str(folder))


def _link(source: str, target: str) -> None:
    Path(target).symlink_to(source)


class Pooling(torch.nn.Module):
    """What a model of sentence-transformers in memory says about its embeddings."""

    def get_config_dict(self) -> dict[str, bool]:
        return {"pooling_mode_lasttoken": True, "pooling_mode_mean_tokens": False}


class SentenceTransformer(torch.nn.Sequential):
    """A model of sentence-transformers in memory."""


def test_a_model_in_memory_says_how_tokens_are_pooled() -> None:
    loaded = attncli.load("demo:encoder").loaded
    wrapped = attncli.load(SentenceTransformer(loaded.model, Pooling()), tokenizer=loaded.tokenizer)
    assert wrapped.loaded.sentence.pooling == ("lasttoken",)
    assert attncli.load(loaded.model, tokenizer=loaded.tokenizer).loaded.sentence.pooling == ("mean",)
