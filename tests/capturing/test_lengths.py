"""A plan made on a short text serves longer texts, or the refusal says what to change."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import families
import numpy as np
import pytest
import torch
from families import FAMILIES
from family_table import GEMMA_4, SPECIAL_IDS, VOCABULARY
from transformers import (
    AutoModelForCausalLM,
    BigBirdPegasusConfig,
    BigBirdPegasusForConditionalGeneration,
    Gemma4UnifiedAssistantConfig,
    Gemma4UnifiedAssistantForCausalLM,
    Gemma4UnifiedTextConfig,
)

from attncli.capturing import plan, run
from attncli.data import Rows
from attncli.errors import ModelError
from attncli.inputs.batches import Batch, batch_from_tensors
from attncli.models import Loaded, wrap_model

SMALL = {"hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 4, "num_attention_heads": 4}
BLOCKS = {"attention_type": "block_sparse", "block_size": 4, "num_random_blocks": 1}


class Collector:
    """A sink that keeps the weights and the visibility of each layer, [head, query, key], from its only block."""

    def __init__(self) -> None:
        self.maps: dict[tuple[str, int], np.ndarray] = {}
        self.visible: dict[tuple[str, int], np.ndarray] = {}

    def add(self, rows: Rows) -> None:
        layer = rows.kind, rows.layer
        assert layer not in self.maps
        self.maps[layer] = rows.weights[0].numpy()
        self.visible[layer] = rows.visibility.visible.expand_as(rows.weights)[0].numpy()

    def end_layer(self, kind: str, layer: int) -> None:
        pass


def tensors(loaded: Loaded, tokens: int) -> dict[str, torch.Tensor]:
    ids = torch.arange(tokens)[None] * 7 % 80 + 10
    return {"input_ids": ids} | ({"decoder_input_ids": ids[:, :6]} if loaded.is_encoder_decoder else {})


def batch(loaded: Loaded, tokens: int) -> Batch:
    # like encoded text, so that the assistant may run its language model alone
    return replace(batch_from_tensors(loaded, tensors(loaded, tokens)), given=False)


def captured(loaded: Loaded, tokens: int, *, planned: int = 12) -> Collector:
    sink = Collector()
    capture_plan = plan(loaded, batch=batch(loaded, planned))
    run(loaded, capture_plan, batch(loaded, tokens), [sink])
    return sink


def text_config() -> Gemma4UnifiedTextConfig:
    return Gemma4UnifiedTextConfig(**SMALL, **GEMMA_4, **SPECIAL_IDS, vocab_size=VOCABULARY)


def unified() -> tuple[Any, Any]:
    model = AutoModelForCausalLM.from_config(text_config())
    return model, model


def assistant() -> tuple[Any, Any]:
    model = Gemma4UnifiedAssistantForCausalLM(
        Gemma4UnifiedAssistantConfig(text_config=text_config(), backbone_hidden_size=32)
    )
    return model, model.model


@pytest.mark.parametrize("make", [unified, assistant])
@pytest.mark.parametrize("tokens", [1, 21])
def test_layers_that_read_keys_of_earlier_layers_have_a_row_for_each_token(make: Any, tokens: int) -> None:
    torch.manual_seed(0)
    model, caller = make()
    loaded = wrap_model(model.eval())
    maps = captured(loaded, tokens).maps
    model.set_attn_implementation("eager")
    with torch.no_grad():
        expected = caller(**tensors(loaded, tokens), output_attentions=True).attentions
    assert sorted(maps) == [("decoder", layer) for layer in range(4)]
    for (_, layer), weights in maps.items():
        np.testing.assert_allclose(weights, expected[layer][0], atol=1e-5, rtol=0)


def bigbird(**settings: Any) -> Loaded:
    family = FAMILIES["big_bird"]
    return wrap_model(families.build(replace(family, config={**family.config, **settings})))


def bigbird_pegasus(**settings: Any) -> Loaded:
    layers = {f"{side}_{what}": 2 for side in ("encoder", "decoder") for what in ("layers", "attention_heads")}
    config = BigBirdPegasusConfig(
        **layers, **{**BLOCKS, **settings}, d_model=16, encoder_ffn_dim=16, decoder_ffn_dim=16, vocab_size=VOCABULARY
    )
    return wrap_model(BigBirdPegasusForConditionalGeneration(config).eval())


ADVICE = "use a text of at most 28 tokens, or set attention_type to original_full"


@pytest.mark.parametrize("make", [bigbird, bigbird_pegasus])
def test_block_sparse_attention_is_refused_with_the_longest_text_and_the_setting(make: Any) -> None:
    loaded = make()
    with pytest.raises(ModelError, match=f"encoder layer 0 .*{ADVICE}"):
        captured(loaded, 29)
    assert "encoder" in {kind for kind, _ in captured(loaded, 28).maps}
    maps = captured(make(attention_type="original_full"), 62).maps
    assert maps["encoder", 0].shape[1:] == (62, 62)
    np.testing.assert_allclose(maps["encoder", 0].sum(-1), 1, atol=1e-5)


@pytest.mark.parametrize("tokens", [60, 62])
def test_maps_of_blocks_that_the_model_returns_incompletely_are_refused(tokens: int) -> None:
    loaded = bigbird_pegasus()
    capture_plan = plan(loaded, batch=batch(loaded, tokens))
    assert capture_plan.kinds == ("decoder", "cross")
    assert all(ADVICE in reason for _, reason in capture_plan.refused)
    assert {name.rpartition(".self_attn")[0] for name, _ in capture_plan.refused} >= {
        f"model.encoder.layers.{layer}" for layer in (0, 1)
    }
    loaded = bigbird()
    returned = loaded.model(**tensors(loaded, 60), output_attentions=True).attentions[0]
    assert returned.sum(-1).min() < 0.9
    with pytest.raises(ModelError, match=ADVICE):
        captured(loaded, tokens, planned=tokens)
