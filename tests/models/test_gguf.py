"""A GGUF file is loaded as the model that it was made of; a damaged one is reported in one line."""

from __future__ import annotations

import shutil
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from gguf_files import write_gguf
from transformers import AutoModelForCausalLM

import attncli
from attncli import models
from attncli.data import Text
from attncli.errors import ModelError
from attncli.models.gguf import heeded_progress_bars

if TYPE_CHECKING:
    from conftest import RunCli

TEXT = "The cat sat on the mat."
Writer = Callable[..., Path]


@pytest.fixture(scope="module")
def write(tmp_path_factory: pytest.TempPathFactory, demo_dirs: dict[str, Path]) -> Writer:
    """Writes demo:decoder as a GGUF file into a folder of its own."""

    def write(stored: str, **more: Any) -> Path:
        return write_gguf(tmp_path_factory.mktemp("gguf") / f"{stored}.gguf", demo_dirs["decoder"], stored, **more)

    return write


@pytest.fixture(scope="module")
def exact(write: Writer) -> Path:
    return write("F32")


@pytest.fixture(scope="module")
def packed(write: Writer) -> Path:
    return write("Q8_0")


def _maps(run: attncli.Run) -> np.ndarray:
    return np.stack([layer.weights for layer in run.attention("decoder").layers])


def _naive_q8(weights: torch.Tensor) -> torch.Tensor:
    """What remains of weights as Q8_0: per 32 numbers one half-precision scale and whole numbers up to 127."""
    blocks = weights.numpy().reshape(-1, 32).astype(np.float64)
    scales = np.abs(blocks).max(axis=1, keepdims=True) / 127
    steps = np.round(np.divide(blocks, scales, where=scales > 0, out=np.zeros_like(blocks)))
    return torch.from_numpy((steps * scales.astype(np.float16)).reshape(weights.shape).astype(np.float32))


def test_a_file_of_floats_has_the_attention_and_the_tokens_of_its_model(
    exact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(exact.parent)
    from_file, original = (attncli.load(name).run(TEXT) for name in (exact.name, "demo:decoder"))
    assert from_file.inputs[0].source.ids.tolist() == original.inputs[0].source.ids.tolist()
    np.testing.assert_array_equal(_maps(from_file), _maps(original))


def test_packed_weights_are_dequantised_as_their_format_says(packed: Path, demo_dirs: dict[str, Path]) -> None:
    reference: Any = AutoModelForCausalLM.from_pretrained(demo_dirs["decoder"])
    for parameter in reference.parameters():
        if parameter.dim() == 2:
            parameter.data = _naive_q8(parameter.data)
    loaded = attncli.load(str(packed))
    expected = attncli.capture(reference, loaded.loaded.tokenizer(TEXT, return_tensors="pt"))
    np.testing.assert_allclose(_maps(loaded.run(TEXT)), _maps(expected), atol=5e-5)
    assert np.abs(_maps(expected) - _maps(attncli.load("demo:decoder").run(TEXT))).max() > 1e-2


def test_it_continues_a_chat(exact: Path) -> None:
    chat = Text("the cat", messages=({"role": "user", "content": "the cat"},))
    from_file, original = (attncli.load(name, head="auto-lm") for name in (str(exact), "demo:decoder"))
    assert type(from_file.loaded.model).__name__ == "LlamaForCausalLM"
    written = [model.run(chat, generate=3, layer=0).inputs[0].source.pieces for model in (from_file, original)]
    assert written[0] == written[1]


def test_a_note_and_info_say_what_was_dequantised_to_what(packed: Path, run_cli: RunCli) -> None:
    stored = "22 tensors as Q8_0, 7 as F32; dequantised to bfloat16"
    done = run_cli("stats", "-m", packed, "--dtype", "bfloat16", "-t", TEXT, "--format", "csv", "--layer", "0")
    assert (done.code, done.err) == (0, f"note: the GGUF file stores {stored}\n")
    assert f"\nGGUF file\t{stored}\n" in run_cli("info", "-m", packed, "--dtype", "bfloat16").out
    described = [attncli.load(name).describe()["gguf"] for name in (str(packed), "demo:decoder")]
    assert described == [stored.replace("bfloat16", "float32"), None]


def test_files_of_another_model_beside_it_are_not_read(exact: Path, demo_dirs: dict[str, Path]) -> None:
    for file in ("tokenizer.json", "tokenizer_config.json", "config.json"):
        shutil.copy(demo_dirs["encoder"] / file, exact.parent)
    try:
        loaded = models.load(str(exact))
    finally:
        for file in exact.parent.glob("*.json"):
            file.unlink()
    assert loaded.architecture == "llama"
    assert loaded.tokenizer(TEXT)["input_ids"] == models.load("demo:decoder").tokenizer(TEXT)["input_ids"]


def test_another_model_can_use_its_tokenizer(exact: Path) -> None:
    loaded = models.load("demo:encoder", tokenizer=str(exact))
    assert loaded.tokenizer(TEXT)["input_ids"] == models.load("demo:decoder").tokenizer(TEXT)["input_ids"]


def test_scaled_positions_that_transformers_leaves_out_are_named(write: Writer) -> None:
    notes = models.load(str(write("F16", extra={"rope_freqs.weight": np.ones(16, np.float32)}))).notes
    assert notes == (
        "the GGUF file stores 22 tensors as F16, 8 as F32; loaded as float32",
        "Transformers leaves out rope_freqs.weight: attention is that of unscaled rotary positions",
    )


DAMAGED: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda data: b"", r"is no GGUF file, or damaged \(ValueError: cannot mmap an empty file\): get it again"),
    "something else": (lambda data: b"PK" + data[2:], "is no GGUF file, or damaged .*magic"),
    "half a header": (lambda data: data[:300], "is no GGUF file, or damaged"),
    "half the weights": (lambda data: data[: len(data) // 2], "is no GGUF file, or damaged"),
    "no architecture of Transformers": (
        lambda data: data.replace(b"llama", b"quuux"),
        "could not be loaded: ValueError: GGUF model with architecture quuux is not supported yet",
    ),
    "a weight missing": (
        lambda data: data.replace(b"blk.1.attn_q", b"blk.1.attn_z"),
        "lacks 1 of its weights, the first is layers.1.self_attn.q_proj.weight",
    ),
    "no tokens": (lambda data: data.replace(b"ggml.tokens", b"ggml.tukens"), "no usable tokenizer.*--tokenizer"),
}


@pytest.mark.parametrize("what", DAMAGED)
def test_a_damaged_file_is_reported_with_exit_code_3(what: str, packed: Path, tmp_path: Path) -> None:
    damage, message = DAMAGED[what]
    (tmp_path / "model.gguf").write_bytes(damage(packed.read_bytes()))
    with pytest.raises(ModelError, match=message) as error:
        models.load(str(tmp_path / "model.gguf"))
    assert error.value.exit_code == 3
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("package", ["gguf", "accelerate"])
def test_without_the_packages_the_command_that_installs_them_is_named(
    package: str, packed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ModelError, match=r'is a GGUF file: pip install "attncli\[gguf\]" to load it$'):
        models.load(str(packed))


def test_a_name_that_leads_to_no_file_is_reported(packed: Path) -> None:
    with pytest.raises(ModelError, match="expected a GGUF file, found nothing; give the path of the file"):
        models.load("~nobody-at-all/model.gguf")
    with pytest.raises(ModelError, match=rf"has no config\.json; give the folder .*, or name {packed}$"):
        models.load(str(packed.parent))


def test_the_progress_bar_of_others_stays_as_it_is(capfd: pytest.CaptureFixture[str]) -> None:
    from transformers import modeling_gguf_pytorch_utils as reader
    from transformers.utils import logging

    was_shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        with heeded_progress_bars():
            assert list(reader.tqdm([1], desc="ours")) == [1]
            other = threading.Thread(target=lambda: list(reader.tqdm([1], desc="of another thread")))
            other.start()
            other.join()
        assert list(reader.tqdm([1], desc="later")) == [1]
    finally:
        if was_shown:
            logging.enable_progress_bar()
    shown = capfd.readouterr().err
    assert [name in shown for name in ("ours", "of another thread", "later")] == [False, True, True]
