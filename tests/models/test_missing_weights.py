"""Weights that a checkpoint lacks or that stay unused are named, and no output depends on random weights silently."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from transformers import GPT2Config, GPT2LMHeadModel

from attncli import models
from attncli.api.model import Model
from attncli.errors import ModelError
from attncli.models import checkpoint

if TYPE_CHECKING:
    from conftest import RunCli


def _shortened(folder: Path, base: Path, **changes: Any) -> str:
    """Return a copy of a model whose config.json says something else."""
    shutil.copytree(base, folder)
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return str(folder)


def test_a_model_with_a_random_head_writes_no_text(minilm: Path, run_cli: RunCli) -> None:
    result = run_cli("stats", "-m", minilm, "-t", "a cat", "--generate", 3, "--head", "causal-lm", "-o", "out")
    assert (result.code, result.out) == (3, "")
    assert result.err.startswith(
        "error: BertLMHeadModel cannot generate text: the checkpoint lacks 6 of its weights, which were initialised at "
        "random (cls.predictions.bias, "
    )
    assert not Path("out").exists()


def test_where_only_attention_is_read_a_note_names_the_random_weights(minilm: Path, run_cli: RunCli) -> None:
    options = ("-t", "a cat", "--metric", "entropy", "--json")
    result = run_cli("stats", "-m", minilm, *options, "--head", "sequence-classification", "-o", "head")
    note = (
        "the checkpoint lacks 2 weights of BertForSequenceClassification, which were initialised at random: "
        "classifier.bias, classifier.weight; its attention does not depend on them, its output does"
    )
    assert result.code == 0
    assert result.err.count(note) == 1
    assert json.loads(Path("head/manifest.json").read_text())["run"]["notes"] == [note]
    plain = run_cli("stats", "-m", minilm, *options, "-o", "plain")
    assert json.loads(plain.out)["heads"] == json.loads(result.out)["heads"]
    assert json.loads(Path("plain/manifest.json").read_text())["run"]["notes"] == []


def test_info_lists_all_random_and_unused_weights(tmp_path: Path, demo_dirs: dict[str, Path], run_cli: RunCli) -> None:
    short = _shortened(tmp_path / "short", demo_dirs["encoder"], num_hidden_layers=2)
    described = json.loads(run_cli("info", "-m", short, "--json").out)
    assert described["initialised_weights"] == ["pooler.dense.bias", "pooler.dense.weight"]
    assert len(described["unused_weights"]) == 2 * 16
    printed = run_cli("info", "-m", short).out
    assert "initialised\t2 weights: pooler.dense.bias, pooler.dense.weight\n" in printed
    assert "not used\t32 weights: bert.encoder.layer.2.attention.output.LayerNorm.bias, " in printed


@pytest.mark.parametrize("name", ["encoder", "decoder", "seq2seq"])
def test_fewer_layers_than_the_checkpoint_has_get_a_note(name: str, tmp_path: Path, demo_dirs: dict[str, Path]) -> None:
    whole = models.load(str(demo_dirs[name]), device="cpu")
    assert (whole.unused, whole.notes) == ((), ())
    layers = {"seq2seq": {"decoder_layers": 1}}.get(name, {"num_hidden_layers": 1})
    short = models.load(_shortened(tmp_path / "short", demo_dirs[name], **layers), device="cpu")
    stored = {key.split(".layers.")[-1].split(".layer.")[-1].split(".")[0] for key in short.unused}
    assert stored
    assert "0" not in stored
    (note,) = short.notes
    assert note.startswith(f"{len(short.unused)} weights of the checkpoint are not used, as config.json describes a ")
    if name == "decoder":
        run = Model(short).run("a cat", keep_maps=False, metrics=["entropy"])
        assert run.info.notes == (note,)


def test_heads_of_other_tasks_and_stored_constants_are_not_called_unused() -> None:
    model = GPT2LMHeadModel(GPT2Config(vocab_size=9, n_embd=4, n_layer=1, n_head=1))
    keys = {"h.0.attn.bias", "h.0.attn.masked_bias", "score.weight", "transformer.h.1.attn.c_attn.weight"}
    unused = checkpoint.unused_weights(model, {"unexpected_keys": keys})
    assert unused == ("transformer.h.1.attn.c_attn.weight",)


def test_a_part_of_a_layer_is_no_head_whatever_its_name() -> None:
    model = GPT2LMHeadModel(GPT2Config(vocab_size=9, n_embd=4, n_layer=1, n_head=1))
    missing = {"missing_keys": {"transformer.h.0.attn.score.weight"}}
    assert checkpoint.problem_with_weights(model, missing).endswith("the first is transformer.h.0.attn.score.weight")
    assert checkpoint.problem_with_weights(model, {"missing_keys": {"score.weight", "lm_head.weight"}}) == ""


@pytest.mark.parametrize(
    ("name", "head", "message"),
    [
        ("encoder", "causal-lm", "it is an encoder, whose tokens see those after them; leave --generate out"),
        ("encoder", "auto-lm", "BertModel cannot generate text; leave --generate out, or choose a model that writes"),
        ("decoder", "auto", "LlamaModel cannot generate text; load it with --head causal-lm"),
    ],
)
def test_only_models_that_can_write_are_told_to_load_that_head(
    name: str, head: str, message: str, demo_dirs: dict[str, Path]
) -> None:
    model = Model(models.load(str(demo_dirs[name]), device="cpu", head=head))
    with pytest.raises(ModelError, match=message) as error:
        model.run("a cat", generate=3, keep_maps=False, metrics=["entropy"])
    assert ("causal-lm" in str(error.value)) == (name == "decoder")
