"""Weights that only the outputs of a model hold: masked keys are recognised, and incomplete rows are refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from attncli.capturing import plan, run
from attncli.data import Rows
from attncli.errors import ModelError
from attncli.inputs.batches import Batch, batch_from_tensors
from attncli.models import Loaded, wrap_model

TOKENS = 7


class OwnSoftmax(PreTrainedModel):
    """Causal attention without torch's softmax; texts longer than `TOKENS` lose the weights of the first key."""

    config_class = PreTrainedConfig

    def __init__(self) -> None:
        super().__init__(PreTrainedConfig())
        self.embed = nn.Embedding(20, 4)
        self.scores = nn.Linear(4, 4)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.embed

    def forward(self, input_ids: torch.Tensor, output_attentions: bool = False) -> Any:
        hidden = self.embed(input_ids)
        powers = (self.scores(hidden) @ hidden.transpose(1, 2)).exp().tril()
        weights = (powers / powers.sum(-1, keepdim=True))[:, None]
        output = weights[:, 0] @ hidden
        if input_ids.shape[1] > TOKENS:
            weights[..., 0] = 0
        return BaseModelOutput(last_hidden_state=output, attentions=(weights,) if output_attentions else None)


def encoded(tokens: int) -> tuple[Loaded, Batch]:
    torch.manual_seed(0)
    loaded = wrap_model(OwnSoftmax().eval())
    return loaded, batch_from_tensors(loaded, {"input_ids": torch.arange(tokens)[None]})


class Collector:
    """A sink that keeps all rows."""

    def __init__(self) -> None:
        self.rows: list[Rows] = []

    def add(self, rows: Rows) -> None:
        self.rows.append(rows)

    def end_layer(self, kind: str, layer: int) -> None:
        pass


def test_a_weight_of_zero_is_that_of_a_masked_key() -> None:
    (loaded, batch), sink = encoded(TOKENS), Collector()
    capture_plan = plan(loaded, batch=batch)
    assert [(site.kind, site.function) for site in capture_plan.sites] == [("decoder", "output")]
    run(loaded, capture_plan, batch, [sink])
    (rows,) = sink.rows
    expected = loaded.model(**batch.tensors, output_attentions=True).attentions[0]
    assert torch.equal(rows.weights, expected)
    assert torch.equal(rows.visibility.visible[0, 0], torch.ones(TOKENS, TOKENS, dtype=torch.bool).tril())


def test_rows_without_some_of_their_weights_are_refused() -> None:
    loaded, batch = encoded(TOKENS + 1)
    reason = "its rows sum to as little as 0: the model returns them without some of their weights"
    with pytest.raises(ModelError, match=f"attentions: {reason}"):
        plan(loaded, batch=batch)
    with pytest.raises(ModelError, match=rf"decoder layer 0 \(attentions\) is refused: {reason}"):
        run(loaded, plan(loaded, batch=encoded(TOKENS)[1]), batch, [Collector()])
