"""Models that bring their own code are captured by both routes, and their code never runs without permission."""

from __future__ import annotations

import json
from pathlib import Path

import families
import pytest
import torch
from safetensors.torch import save_file

from attncli.capturing import plan, run
from attncli.data import Rows, Text
from attncli.errors import ModelError
from attncli.inputs.encode import encode
from attncli.models import load

COMMON = """
import math
import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedConfig
from transformers.modeling_outputs import BaseModelOutput

class SmallConfig(PreTrainedConfig):
    model_type = "small-of-its-own"
    hidden_size: int = 16
    num_attention_heads: int = 2
    vocab_size: int = 64

class SmallAttention(nn.Module):
    def __init__(self, config, layer_idx):
        super().__init__()
        self.config, self.layer_idx, self.heads = config, layer_idx, config.num_attention_heads
        self.qkv = nn.Linear(config.hidden_size, 3 * config.hidden_size)

    def forward(self, hidden, mask=None):
        batch, length, width = hidden.shape
        q, k, v = (
            part.view(batch, length, self.heads, -1).transpose(1, 2) for part in self.qkv(hidden).chunk(3, -1)
        )
        return self.attend(q, k, v, mask).transpose(1, 2).reshape(batch, length, width)

%s

class SmallModel(PreTrainedModel):
    config_class = SmallConfig
    _supports_sdpa = True
    _supports_attention_backend = True

    def __init__(self, config):
        super().__init__(config)
        self.embed = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Attention(config, number) for number in range(2))
        self.post_init()

    def get_input_embeddings(self):
        return self.embed

    def forward(self, input_ids, attention_mask=None):
        hidden = self.embed(input_ids)
        for layer in self.layers:
            hidden = hidden + layer(hidden)
        return BaseModelOutput(last_hidden_state=hidden)
"""
TORCH = """
class Attention(SmallAttention):
    def attend(self, q, k, v, mask):
        return nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
"""
EAGER = """
def eager_attention_forward(module, query, key, value, attention_mask, scaling=None, **kwargs):
    scores = query @ key.transpose(2, 3) * scaling
    seen = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
    weights = scores.masked_fill(~seen, torch.finfo(scores.dtype).min).softmax(-1)
    return (weights @ value).transpose(1, 2), weights

class Attention(SmallAttention):
    def attend(self, q, k, v, mask):
        output, _ = eager_attention_forward(self, q, k, v, mask, scaling=q.shape[-1] ** -0.5)
        return output.transpose(1, 2)
"""
OWN = """
class Attention(SmallAttention):
    def attend(self, q, k, v, mask):
        scores = q @ k.transpose(2, 3) / math.sqrt(q.shape[-1])
        seen = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
        return scores.masked_fill(~seen, -math.inf).softmax(-1) @ v
"""
TEXT = Text("the animal did not cross the street because it was too tired .")


def write_model(path: Path, code: str) -> Path:
    """Write a model with its own code into a folder."""
    config = {
        "model_type": "small-of-its-own",
        "architectures": ["SmallModel"],
        "auto_map": {"AutoConfig": "modeling_small.SmallConfig", "AutoModel": "modeling_small.SmallModel"},
    }
    (path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (path / "modeling_small.py").write_text(COMMON % code, encoding="utf-8")
    draw = torch.Generator().manual_seed(0)
    weights = {"embed.weight": torch.randn(64, 16, generator=draw)}
    for number in (0, 1):
        weights[f"layers.{number}.qkv.weight"] = torch.randn(48, 16, generator=draw) / 4
        weights[f"layers.{number}.qkv.bias"] = torch.randn(48, generator=draw)
    save_file(weights, path / "model.safetensors", {"format": "pt"})
    families.tiny_tokenizer().save_pretrained(path)
    return path


class FullMaps:
    """A sink that keeps the maps of one short text, each of which is one block."""

    def __init__(self) -> None:
        self.maps: dict[int, torch.Tensor] = {}

    def add(self, rows: Rows) -> None:
        assert rows.layer not in self.maps
        self.maps[rows.layer] = rows.weights[0]

    def end_layer(self, kind: str, layer: int) -> None:
        pass


@pytest.fixture(autouse=True)
def own_module_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))


@pytest.mark.parametrize(
    ("code", "route", "function"),
    [(TORCH, "stream", "sdpa"), (EAGER, "eager", "dispatch"), (OWN, "eager", "softmax")],
    ids=["torch", "eager", "own"],
)
def test_foreign_code_is_captured_by_both_routes(tmp_path: Path, code: str, route: str, function: str) -> None:
    (tmp_path / "model").mkdir()
    loaded = load(str(write_model(tmp_path / "model", code)), device="cpu", trust_remote_code=True)
    batch = next(encode(loaded, [TEXT]))
    auto, eager = plan(loaded), plan(loaded, "eager")
    assert (auto.route, {site.function for site in auto.sites}) == (route, {function})
    assert [(site.kind, site.layer) for site in auto.sites] == [("decoder", 0), ("decoder", 1)]
    assert not auto.refused
    sinks = FullMaps(), FullMaps()
    run(loaded, auto, batch, [sinks[0]])
    run(loaded, eager, batch, [sinks[1]])
    hidden = loaded.model.embed(batch.tensors["input_ids"])  # type: ignore[operator, union-attr]
    for layer, module in enumerate(loaded.model.layers):  # type: ignore[arg-type, union-attr]
        expected = _weights(module, hidden)
        for sink in sinks:
            torch.testing.assert_close(sink.maps[layer], expected, atol=1e-5, rtol=0)
        hidden = hidden + module(hidden)


def _weights(module: torch.nn.Module, hidden: torch.Tensor) -> torch.Tensor:
    """The weights of one layer by a loop over its heads and rows: [head, query, key]."""
    query, key, _ = module.qkv(hidden)[0].chunk(3, -1)  # type: ignore[operator]
    length = len(query)
    weights = torch.zeros(2, length, length)
    for head in range(2):
        part = slice(8 * head, 8 * head + 8)
        for row in range(length):
            scores = key[: row + 1, part] @ query[row, part] / 8**0.5
            weights[head, row, : row + 1] = scores.softmax(0)
    return weights.detach()


def test_foreign_code_never_runs_without_permission(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    path = write_model(tmp_path / "model", "raise SystemExit('ran')\n" + TORCH)
    with pytest.raises(ModelError, match=r"code of its own \(modeling_small\.py\).*--trust-remote-code") as error:
        load(str(path), device="cpu")
    assert error.value.exit_code == 3
    assert "\n" not in str(error.value)
