"""A model loads, or one line says why it cannot be used and what to do."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import families
import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    BertModel,
    BloomConfig,
    BloomModel,
    GPT2Config,
    GPT2Model,
    LightOnOcrConfig,
    LightOnOcrForConditionalGeneration,
    LlamaConfig,
    LlamaModel,
    MptConfig,
    MptModel,
    T5Config,
    T5Model,
)

from attncli import models
from attncli.errors import ModelError, UsageError


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return families.save(families.FAMILIES["bert"], tmp_path_factory.mktemp("bert"))


@pytest.fixture
def broken(bert: Path, tmp_path: Path) -> Path:
    """A copy of a complete model folder, for tests that break it."""
    return Path(shutil.copytree(bert, tmp_path / "model"))


def _change_config(folder: Path, file: str = "config.json", **changes: Any) -> None:
    path = folder / file
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def _remove(*names: str) -> Callable[[Path], None]:
    def remove(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return remove


def _halve_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _lose_layer(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    save_file({k: v for k, v in tensors.items() if "layer.1.attention" not in k}, folder / "model.safetensors")


BROKEN: dict[str, tuple[Callable[[Path], None], str]] = {
    "no config": (_remove("config.json"), r"has no config\.json"),
    "no weights": (_remove("model.safetensors"), r"has no weights; expected model\.safetensors"),
    "no tokenizer": (_remove("tokenizer.json", "tokenizer_config.json"), "tokenizer.*--tokenizer"),
    "broken tokenizer": (lambda f: (f / "tokenizer.json").write_text("{}") and None, "no usable tokenizer"),
    "corrupt weights": (lambda f: (f / "model.safetensors").write_bytes(b"x" * 99) and None, "safetensors.*corrupt"),
    "half the weights": (_halve_weights, "safetensors file is corrupt or incomplete"),
    "broken config": (lambda f: (f / "config.json").write_text("{") and None, "not a valid JSON"),
    "another shape": (lambda f: _change_config(f, vocab_size=77), "another shape than config.json says"),
    "a layer missing": (_lose_layer, "lacks .* of its weights, the first is .*layer.1.attention"),
    "unknown type": (lambda f: _change_config(f, model_type="quux"), "quux"),
    "code of its own": (
        lambda f: _change_config(f, model_type="mine", auto_map={"AutoConfig": "conf.C", "AutoModel": "net.M"}),
        r"needs code of its own \(conf\.py, net\.py\).*--trust-remote-code",
    ),
    "code of another repository": (
        lambda f: _change_config(f, model_type="mine", auto_map={"AutoConfig": "owner/repo--modeling.C"}),
        r"needs code of its own \(modeling\.py of owner/repo\), which would run with your rights.*--trust-remote-code",
    ),
    "a model and a tokenizer with code": (
        lambda f: (
            _change_config(f, model_type="mine", auto_map={"AutoConfig": "conf.C"}),
            _change_config(f, "tokenizer_config.json", auto_map={"AutoTokenizer": [None, "owner/repo--tok.T"]}),
        )[0],
        r"needs code of its own \(conf\.py, tok\.py of owner/repo\), which would run with your rights",
    ),
    "no text configuration": (
        lambda f: _change_config(f, text_config={"a": 1}),
        r"config\.json is wrong: its text part is \{'a': 1\}, expected the configuration of a model",
    ),
    "layers that are no number": (lambda f: _change_config(f, num_hidden_layers="x"), "expected int, got str"),
    "length that is no number": (
        lambda f: _change_config(f, "tokenizer_config.json", model_max_length="x"),
        r"no usable tokenizer \(TypeError: model_max_length in tokenizer_config\.json is 'x', expected a number\)",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_folder_is_reported_with_exit_code_3(what: str, broken: Path) -> None:
    damage, message = BROKEN[what]
    damage(broken)
    with pytest.raises(ModelError, match=message) as error:
        models.load(str(broken), device="cpu")
    assert error.value.exit_code == 3
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("google-bert/bert-base-uncased", ModelError, "hub cannot be reached"),
        ("/no/such/folder", ModelError, "expected a folder with config.json, found nothing"),
        ("demo:encodr", ModelError, "did you mean 'demo:encoder'"),
        (" ", UsageError, "name is empty"),
    ],
)
def test_names_without_a_model_are_reported(name: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        models.load(name)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"head": "causal"}, "unknown --head 'causal': did you mean 'causal-lm'"),
        ({"dtype": "float8"}, "unknown --dtype 'float8'"),
        ({"device": "tpu9"}, "--device"),
        ({"device": "cuda"}, "finds no CUDA device"),
    ],
)
def test_wrong_options_are_reported(bert: Path, options: dict[str, str], message: str) -> None:
    if options.get("device") == "cuda" and torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(UsageError, match=message):
        models.load(str(bert), **options)  # type: ignore[arg-type]


def test_a_file_instead_of_a_folder_is_reported(bert: Path) -> None:
    with pytest.raises(ModelError, match="found a file"):
        models.load(str(bert / "config.json"))


def test_a_checkpoint_loads_as_its_base_model_in_eval_mode_without_messages(
    bert: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    loaded = models.load(str(bert), device="cpu")
    assert type(loaded.model) is BertModel
    assert not loaded.model.training
    assert (loaded.architecture, loaded.max_positions) == ("bert", loaded.model.config.max_position_embeddings)
    assert capfd.readouterr() == ("", "")


def test_head_and_dtype_are_used(bert: Path) -> None:
    loaded = models.load(str(bert), device="cpu", head="masked-lm", dtype="bfloat16")
    assert type(loaded.model).__name__ == "BertForMaskedLM"
    assert loaded.run_info("stream").dtype == "bfloat16"


@pytest.fixture(scope="module")
def lighton_ocr(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint like the published ones, which hold all weights below `model.`."""
    text = {"model_type": "qwen3", "num_key_value_heads": 2, "head_dim": 8, **LLAMA, "vocab_size": 100}
    vision = {"model_type": "pixtral", **{f"num_{what}": 1 for what in ("hidden_layers", "attention_heads")}}
    sizes = {"hidden_size": 8, "intermediate_size": 8, "head_dim": 8, "image_size": 28, "patch_size": 14}
    config = LightOnOcrConfig(text_config=text, vision_config=vision | sizes, image_token_id=99)
    folder = tmp_path_factory.mktemp("lighton_ocr")
    LightOnOcrForConditionalGeneration(config).save_pretrained(folder)
    families.tiny_tokenizer().save_pretrained(folder)
    return folder


def test_a_class_that_finds_no_weights_is_not_used_and_named(lighton_ocr: Path, run_cli: Any) -> None:
    loaded = models.load(str(lighton_ocr), device="cpu")
    assert type(loaded.model) is LightOnOcrForConditionalGeneration
    written = load_file(lighton_ocr / "model.safetensors")
    weights = loaded.model.state_dict()
    assert all(torch.equal(weights[name], tensor) for name, tensor in written.items())
    reason = f"as LightOnOcrModel the checkpoint lacks all {len(written)} of its weights"
    assert loaded.class_reason.startswith(reason)
    shown = run_cli("info", "--model", str(lighton_ocr)).out
    assert f"class\tLightOnOcrForConditionalGeneration (lighton_ocr), because {reason}" in shown
    with pytest.raises(ModelError, match=reason):
        models.load(str(lighton_ocr), head="base")
    assert models.load("demo:encoder").class_reason == ""


def test_a_pickle_checkpoint_is_read_with_weights_only(broken: Path) -> None:
    """A pickle that would run code is refused, and its code is not run."""
    import pickle

    marker = broken / "ran"

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (marker,)

    (broken / "model.safetensors").unlink()
    (broken / "pytorch_model.bin").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(ModelError):
        models.load(str(broken))
    assert not marker.exists()


def test_only_a_transformers_model_can_be_wrapped() -> None:
    with pytest.raises(UsageError, match=r"expected a Transformers model .* got Linear"):
        models.wrap_model(torch.nn.Linear(2, 2))  # type: ignore[arg-type]


LLAMA = {"vocab_size": 40, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}


@pytest.mark.parametrize(
    ("rotary", "limit"),
    [
        ({"rope_type": "default", "rope_theta": 1e4}, 64),
        ({"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}, None),
        ({"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 64}, 256),
        ({"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}, 64),
    ],
    ids=lambda value: value["rope_type"] if isinstance(value, dict) else "",
)
def test_rotary_positions_end_at_their_scaled_limit(rotary: dict[str, Any], limit: int | None) -> None:
    config = LlamaConfig(**LLAMA, max_position_embeddings=64, rope_parameters=rotary)
    assert models.wrap_model(LlamaModel(config)).max_positions == limit


def test_positions_that_are_distances_have_no_limit() -> None:
    # the checkpoints of T5 state the length of their training texts
    t5 = T5Config(vocab_size=40, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, n_positions=512)
    bloom = BloomConfig(vocab_size=40, hidden_size=16, n_layer=1, n_head=2, max_position_embeddings=64)
    mpt = MptConfig(vocab_size=40, d_model=16, n_layers=1, n_heads=2, max_seq_len=64)
    for model in (T5Model(t5), BloomModel(bloom), MptModel(mpt)):
        assert models.wrap_model(model).max_positions is None
    gpt2 = GPT2Config(vocab_size=40, n_embd=16, n_layer=1, n_head=2, n_positions=64)
    assert models.wrap_model(GPT2Model(gpt2)).max_positions == 64


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_a_folder_with_a_pipe_or_a_device_is_refused_at_once(broken: Path, bert: Path, kind: str) -> None:
    (broken / "1_Pooling").mkdir()
    names = [path.name for path in bert.iterdir()] + ["adapter_config.json", "modules.json", "1_Pooling/config.json"]
    for name in names:
        path = broken / name
        kept = path.read_bytes() if path.exists() else None
        path.unlink(missing_ok=True)
        if kind == "pipe":
            os.mkfifo(path)
        else:
            path.symlink_to("/dev/zero")
        for load in (lambda: models.load(str(broken)), lambda: models.load(str(bert), tokenizer=str(broken))):
            with pytest.raises(ModelError, match=f"{name} is a pipe or a device, not a file"):
                load()
        path.unlink()
        if kept is not None:
            path.write_bytes(kept)
