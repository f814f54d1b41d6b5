"""Calls whose maps are equal are layers of their own, and maps that no call explains are named."""

from __future__ import annotations

from typing import Any

import families
import numpy as np
import pytest
import torch
import transformers
from families import FAMILIES
from transformers import BertConfig, BertModel, IBertConfig, IBertModel

import attncli
from attncli.capturing import plan
from attncli.inputs.batches import batch_from_tensors
from attncli.models import wrap_model

IDS = torch.arange(10, 22)[None]
SHAPE = {"vocab_size": 60, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16}


def check(model: Any, kind: str, layers: int) -> None:
    model.eval().set_attn_implementation("eager")
    with torch.no_grad():
        own = model(IDS, output_attentions=True).attentions
    run = attncli.capture(model, {"input_ids": IDS})
    assert len(own) == layers
    assert run.info.notes == ()
    attention = run.attention(kind)
    assert [maps.layer for maps in attention.layers] == list(range(layers))
    for layer, maps in enumerate(own):
        np.testing.assert_allclose(attention.sel(layer=layer).values, maps[0], atol=1e-5)


def test_a_shared_layer_whose_maps_are_equal_every_time() -> None:
    model: Any = families.build(FAMILIES["albert"])
    for name, parameter in model.named_parameters():
        if "query" in name:
            parameter.data.zero_()
    check(model, "encoder", model.config.num_hidden_layers)


def test_quantized_layers_with_equal_maps() -> None:
    torch.manual_seed(0)
    config = IBertConfig(**SHAPE, num_hidden_layers=2, quant_mode=True)
    model: Any = IBertModel(config).eval()
    with torch.no_grad():
        own = model(IDS, output_attentions=True).attentions
    run = attncli.capture(model, {"input_ids": IDS})
    assert torch.equal(*own)
    for layer, maps in enumerate(own):
        np.testing.assert_allclose(run.attention("encoder").sel(layer=layer).values, maps[0], atol=1e-6)


@pytest.mark.skipif(not hasattr(transformers, "HrmTextModel"), reason="this version of Transformers has no HRM")
def test_layers_that_run_in_cycles() -> None:
    config = transformers.HrmTextConfig(**SHAPE, head_dim=8, num_hidden_layers=2)
    torch.manual_seed(0)
    check(transformers.HrmTextModel(config), "decoder", 16)


class MoreMaps(BertModel):
    """A model that returns a map that none of its attention calls made."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        outputs = super().forward(*args, **kwargs)
        outputs["attentions"] = (*outputs.attentions, outputs.attentions[-1])
        return outputs


def test_maps_that_no_call_explains_are_named() -> None:
    loaded = wrap_model(MoreMaps(BertConfig(**SHAPE, num_hidden_layers=2)).eval())
    capture_plan = plan(loaded, batch=batch_from_tensors(loaded, {"input_ids": IDS}))
    assert capture_plan.refused == (("1 of 3 attentions", "only 2 attention calls of the model were found"),)
