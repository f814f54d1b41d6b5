"""An adapter is loaded into its base model, and its maps equal those of the merged weights."""

from __future__ import annotations

import json
import shutil
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from peft import (
    AdaptionPromptConfig,
    LoraConfig,
    PeftConfig,
    PrefixTuningConfig,
    PromptEncoderConfig,
    PromptTuningConfig,
    get_peft_model,
)
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

import attncli
from attncli.errors import ModelError

if TYPE_CHECKING:
    from conftest import RunCli

DECODER = Path(attncli.__file__).parent / "demo" / "decoder"
TEXT = "The cat sat on the mat."


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LoRA weights for queries and values of the demo decoder, and the same merged into a model of its own."""
    folder = tmp_path_factory.mktemp("adapters")
    torch.manual_seed(0)
    config = LoraConfig(task_type="CAUSAL_LM", r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # PEFT uses an old name of Transformers
        model = get_peft_model(AutoModelForCausalLM.from_pretrained(DECODER), config)
    model.save_pretrained(folder / "lora")
    model.merge_and_unload().save_pretrained(folder / "merged")
    for path in DECODER.glob("tokenizer*"):
        shutil.copy(path, folder / "merged")
    return folder / "lora"


def test_the_maps_are_those_of_the_merged_weights(adapter: Path) -> None:
    maps = {name: attncli.load(str(name)).run(TEXT).attention() for name in (adapter, adapter.parent / "merged")}
    for adapted, merged in zip(*(attention.layers for attention in maps.values()), strict=True):
        np.testing.assert_allclose(adapted.weights, merged.weights, atol=1e-5)
    base = attncli.load("demo:decoder").run(TEXT).attention()
    assert np.abs(base.layers[1].weights - maps[adapter].layers[1].weights).max() > 0.01


def test_the_vectors_of_dora_are_loaded(tmp_path: Path) -> None:
    torch.manual_seed(0)
    modules = ["q_proj", "o_proj"]
    config = LoraConfig(task_type="CAUSAL_LM", r=4, target_modules=modules, init_lora_weights=False, use_dora=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        model = get_peft_model(AutoModelForCausalLM.from_pretrained(DECODER), config)
    for name, vector in model.named_parameters():
        if "magnitude" in name:  # as training changes them
            vector.data *= 1 + torch.rand_like(vector)
    model.save_pretrained(tmp_path / "dora")
    merged = attncli.load("demo:decoder").loaded
    adapted = attncli.load(str(tmp_path / "dora"))
    inputs = merged.tokenizer(TEXT, return_tensors="pt")  # type: ignore[misc]
    expected = model.merge_and_unload()
    for by in ("weight", "norm"):
        captured = adapted.run(TEXT, by=by).attention()
        for layer, own in zip(
            captured.layers, attncli.capture(expected, inputs, by=by).attention().layers, strict=True
        ):
            np.testing.assert_allclose(layer.weights, own.weights, rtol=1e-4, atol=1e-5)
    weights = load_file(tmp_path / "dora" / "adapter_model.safetensors")
    name = next(name for name in weights if "magnitude" in name)
    save_file({**weights, name: weights[name][1:]}, tmp_path / "dora" / "adapter_model.safetensors")
    with pytest.raises(ModelError, match=r"does not fit LlamaModel: 2 weights differ, .*lora_magnitude_vector"):
        attncli.load(str(tmp_path / "dora"))


def test_a_model_is_compared_with_and_without_an_adapter(adapter: Path, run_cli: RunCli) -> None:
    result = run_cli("compare", "demo:decoder", adapter, "-t", TEXT, "--json")
    assert result.code == 0, result.err
    document = json.loads(result.out)
    assert (document["run"]["model"], document["other"]["model"]) == (
        "demo:decoder",
        f"…/{adapter.parent.name}/{adapter.name}",
    )
    assert max(head["js_distance"] for head in document["heads"]) > 0.01


def test_an_adapter_of_another_model_is_refused(adapter: Path, tmp_path: Path, run_cli: RunCli) -> None:
    shutil.copytree(adapter, tmp_path / "wrong")
    path = tmp_path / "wrong" / "adapter_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "base_model_name_or_path": "demo:encoder"}))
    result = run_cli("stats", "-m", tmp_path / "wrong", "-t", TEXT)
    assert (result.code, result.err.count("\n")) == (3, 1)
    path.write_text(json.dumps({**config, "base_model_name_or_path": None}))
    with pytest.raises(ModelError, match="names no base model"):
        attncli.load(str(tmp_path / "wrong"))


def test_without_peft_the_error_says_what_to_install(adapter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ModelError, match=r'is an adapter: pip install "attncli\[adapters\]"'):
        attncli.load(str(adapter))


@pytest.mark.parametrize(
    "config",
    [
        PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2),
        PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2),
        PromptEncoderConfig(task_type="CAUSAL_LM", num_virtual_tokens=2),
        AdaptionPromptConfig(task_type="CAUSAL_LM", adapter_len=2, adapter_layers=1),
    ],
    ids=lambda config: config.peft_type.value,
)
def test_adapters_that_learned_a_prompt_are_refused(config: PeftConfig, tmp_path: Path) -> None:
    config.base_model_name_or_path = "demo:decoder"
    config.save_pretrained(str(tmp_path))
    with pytest.raises(ModelError, match=r"\(.*\) adds learned vectors .* or the base model 'demo:decoder'") as error:
        attncli.load(str(tmp_path))
    assert str(config.peft_type.value) in str(error.value)


def test_weights_that_an_adapter_brings_are_not_called_random(tmp_path: Path) -> None:
    config = LoraConfig(task_type="SEQ_CLS", r=4, target_modules=["query"], init_lora_weights=False)
    base = AutoModelForSequenceClassification.from_pretrained(DECODER.parent / "encoder")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        get_peft_model(base, config).save_pretrained(tmp_path)
    loaded = attncli.load(str(tmp_path), head="sequence-classification").loaded
    assert loaded.initialised == ("bert.pooler.dense.bias", "bert.pooler.dense.weight")
    weights = {
        key.split(".")[-1]: value for key, value in loaded.model.classifier.named_parameters() if "default" in key
    }
    torch.testing.assert_close(weights["weight"], base.classifier.modules_to_save["default"].weight.detach())


def test_the_code_that_a_base_model_brings_is_named(tmp_path: Path) -> None:
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    shutil.copytree(DECODER, base)
    settings = json.loads((base / "config.json").read_text())
    auto_map = {"AutoConfig": "owner/repo--configuring.C", "AutoModel": "net.M"}
    (base / "config.json").write_text(json.dumps({**settings, "model_type": "mine", "auto_map": auto_map}))
    LoraConfig(base_model_name_or_path=str(base), target_modules=["q_proj"]).save_pretrained(str(adapter))
    (adapter / "harmless.py").touch()
    with pytest.raises(ModelError) as error:
        attncli.load(str(adapter))
    assert str(error.value).startswith(
        f"the base model '{base}' of adapter '{adapter}' needs code of its own (configuring.py of owner/repo, net.py), "
    )
