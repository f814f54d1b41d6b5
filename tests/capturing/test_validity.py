"""A streamed layer whose weights are not finite is refused by its name, for blocks of any size."""

from __future__ import annotations

import pytest
import torch
from transformers import LlamaConfig, LlamaModel

from attncli import capturing, registry
from attncli.capturing import blocks
from attncli.errors import ModelError
from attncli.inputs.batches import batch_from_tensors
from attncli.models import wrap_model
from attncli.stream import Measure

METRICS = [module.METRIC for module in registry.modules("metrics").values()]


@pytest.mark.parametrize("rows", [3, 128])
def test_a_single_nan_in_a_query_refuses_the_layer(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "ROWS", rows)
    config = LlamaConfig(vocab_size=20, hidden_size=16, intermediate_size=8, num_hidden_layers=3, num_attention_heads=4)
    loaded = wrap_model(LlamaModel(config).eval())
    batch = batch_from_tensors(loaded, {"input_ids": torch.arange(12)[None]})
    plan = capturing.plan(loaded, batch=batch)
    assert plan.route == "stream"

    def spoil(_: object, __: object, queries: torch.Tensor) -> torch.Tensor:
        queries[0, 5, 0] = torch.nan  # one token, one head
        return queries

    loaded.model.layers[1].self_attn.q_proj.register_forward_hook(spoil)
    with pytest.raises(
        ModelError, match=r"decoder layer 1 \(layers.1.self_attn\) is refused: its weights are not fini"
    ):
        capturing.run(loaded, plan, batch, [Measure(METRICS)])
