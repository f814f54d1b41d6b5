"""Attention over patches of an image is no attention over the text, even with as many patches as tokens."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

import attncli

IMAGE = 98
SHAPE = {"hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4}


@cache
def llava() -> Any:
    """A LLaVA whose images have 4 patches; the vision tower also reads a class token, so it attends over 5 x 5."""
    vision = CLIPVisionConfig(**SHAPE, image_size=8, patch_size=4)
    config = LlavaConfig(
        vision_config=vision,
        text_config=LlamaConfig(**SHAPE, vocab_size=99, num_key_value_heads=4),
        image_token_index=IMAGE,
        image_seq_length=4,
    )
    torch.manual_seed(0)
    return LlavaForConditionalGeneration(config).eval()


@pytest.mark.parametrize("words", [1, 3])  # 5 tokens, as many as the vision tower has, and 7
def test_a_vision_tower_is_left_out_whatever_its_size(words: int) -> None:
    inputs = {"input_ids": torch.tensor([[IMAGE] * 4 + [5] * words]), "pixel_values": torch.randn(1, 3, 8, 8)}
    run = attncli.capture(llava(), inputs)
    assert [(maps.kind, [layer.layer for layer in maps.layers]) for maps in run.maps] == [("decoder", [0, 1])]
    assert run.info.notes == tuple(
        f"model.vision_tower.encoder.layers.{layer}.self_attn is left out: it reads images, not the tokens of the text"
        for layer in (0, 1)
    )
    llava().set_attn_implementation("eager")
    theirs = llava()(**inputs, output_attentions=True).attentions
    for layer, maps in enumerate(run.attention("decoder").layers):
        np.testing.assert_allclose(maps.weights, theirs[layer][0].detach().numpy(), atol=1e-5)
