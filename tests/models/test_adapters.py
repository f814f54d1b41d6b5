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
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

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


def test_a_model_is_compared_with_and_without_an_adapter(adapter: Path, run_cli: RunCli) -> None:
    result = run_cli("compare", "demo:decoder", adapter, "-t", TEXT, "--json")
    assert result.code == 0, result.err
    document = json.loads(result.out)
    assert (document["run"]["model"], document["other"]["model"]) == ("demo:decoder", str(adapter))
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
