"""Attention of modules of other packages: timm, x-transformers, Keras on torch and diffusers, from build/modules."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional
from transformers import AutoModel, AutoTokenizer

import attncli
from attncli.errors import ModelError

pytestmark = [pytest.mark.real, pytest.mark.filterwarnings("ignore")]

PACKAGES = Path(__file__).parents[2] / "build" / "modules"


@pytest.fixture(scope="module", autouse=True)
def packages() -> Iterator[None]:
    if not PACKAGES.exists():
        pytest.fail(f"{PACKAGES} does not exist: `make test-real` makes it")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [*sys.path, str(PACKAGES)])
        patch.setenv("KERAS_BACKEND", "torch")
        yield


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def plain(query: Any, key: Any, heads: int) -> np.ndarray[Any, Any]:
    """Return softmax(q k / sqrt(dim)) in float64, [text, head, query, key], of vectors with all heads side by side."""
    query, key = (part.double().unflatten(-1, (heads, -1)).transpose(1, 2) for part in (query, key))
    return (query @ key.mT / query.shape[-1] ** 0.5).softmax(-1).detach().numpy()


@pytest.mark.parametrize("fused", [True, False])
def test_a_vision_transformer_of_timm(fused: bool) -> None:
    timm = pytest.importorskip("timm", exc_type=Exception)
    timm.layers.set_fused_attn(fused)
    model = timm.create_model("vit_tiny_patch16_224", img_size=32, depth=2).eval()
    seen: list[Any] = []
    model.blocks[1].attn.qkv.register_forward_hook(lambda module, args, output: seen.append(args[0]))
    images = torch.randn(2, 3, 32, 32)
    model(images)
    qkv = model.blocks[1].attn.qkv
    query, key, _ = functional.linear(seen[0].double(), qkv.weight.double(), qkv.bias.double()).chunk(3, -1)
    run = attncli.capture(model, images, names=["class", "0,0", "0,1", "1,0", "1,1"])
    np.testing.assert_allclose(run.attention(text=1).stack()[1], plain(query, key, 3)[1], atol=1e-6)
    assert run.info.capture == ("stream" if fused else "eager")


@pytest.mark.parametrize("flash", [True, False])
def test_x_transformers(flash: bool) -> None:
    from x_transformers import Decoder, Encoder, TransformerWrapper

    sizes = {"dim": 16, "depth": 2, "heads": 2, "attn_dim_head": 8}
    ids, mask = torch.randint(0, 20, (2, 7)), torch.ones(2, 7).bool()
    mask[1, 4:] = False
    for layers in (Encoder, Decoder):
        model = TransformerWrapper(num_tokens=20, max_seq_len=16, attn_layers=layers(**sizes)).eval()
        _, expected = model(ids, mask=mask, return_attn=True)
        model.attn_layers.attn_flash = flash
        run = attncli.capture(model, {"x": ids, "mask": mask})
        for text, length in ((0, 7), (1, 4)):
            maps = np.nan_to_num(run.attention(text=text).stack())
            for layer, weights in enumerate(expected):
                np.testing.assert_allclose(maps[layer], weights[text, :, :length, :length].detach(), atol=1e-6)


def test_keras_on_torch() -> None:
    import keras

    layer, x = keras.layers.MultiHeadAttention(2, 4), torch.randn(2, 5, 8)
    _, expected = layer(x, x, return_attention_scores=True)
    for options in ({}, {"return_attention_scores": True}):
        run = attncli.capture(layer, {"query": x, "value": x, **options})
        np.testing.assert_allclose(run.attention(text=1).stack()[0], expected[1].detach(), atol=1e-6)
    inputs = keras.Input((5, 8))
    model = keras.Model(inputs, layer(inputs, inputs))
    np.testing.assert_allclose(attncli.capture(model, x).attention(text=1).stack()[0], expected[1].detach(), atol=1e-6)


def test_cross_attention_of_diffusers() -> None:
    from diffusers.models.attention import BasicTransformerBlock
    from diffusers.models.attention_processor import AttnProcessor

    block = BasicTransformerBlock(16, 2, 8, cross_attention_dim=12).eval()
    seen: list[Any] = []
    block.attn2.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    inputs = {"hidden_states": torch.randn(2, 9, 16), "encoder_hidden_states": torch.randn(2, 4, 12)}
    block(**inputs)
    query, key = block.attn2.to_q(seen[0]), block.attn2.to_k(inputs["encoder_hidden_states"])
    run = attncli.capture(block, inputs)
    np.testing.assert_allclose(run.attention("cross", text=1).stack()[0], plain(query, key, 2)[1], atol=1e-6)
    for attention in (block.attn1, block.attn2):
        attention.set_processor(AttnProcessor())
    with pytest.raises(ModelError, match="joins 2 texts and 2 heads in an order that is not known: capture one text"):
        attncli.capture(block, inputs)


def test_a_sentence_transformer_is_watched_while_it_encodes(minilm: Path) -> None:
    sentence_transformers = pytest.importorskip("sentence_transformers", exc_type=Exception)
    texts = ["A cat sat.", "The dog was too tired."]
    model, tokenizer = AutoModel.from_pretrained(minilm), AutoTokenizer.from_pretrained(minilm)
    sentences = sentence_transformers.SentenceTransformer(str(minilm), device="cpu")
    with attncli.watch(sentences) as watched:
        sentences.encode(texts)
    for found in watched.run.maps:
        inputs = tokenizer(texts[watched.run.inputs[found.text].text.text.count("dog")], return_tensors="pt")
        expected = attncli.capture(model, inputs).attention().stack()
        np.testing.assert_allclose(found.stack(), expected, atol=1e-5)
