"""A pass ends with the last call that is captured, unless code of others runs in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import families
import numpy as np
import pytest
from families import FAMILIES
from torch.nn.modules.module import register_module_forward_hook
from transformers import PreTrainedModel

from attncli import capturing
from attncli.inputs.batches import batch_from_tensors
from attncli.models import wrap_model
from attncli.stream import KeepMaps


def captured(model: PreTrainedModel, layers: list[int]) -> tuple[Counter[str], list[np.ndarray[Any, Any]]]:
    """Return how often modules of each class ran to their end while these layers were captured, and their weights."""
    loaded, ran = wrap_model(model), Counter[str]()
    batch = batch_from_tensors(loaded, families.inputs(FAMILIES["bert"]))
    plan, keep = capturing.kept_plan(loaded, "auto", batch), KeepMaps()
    heads = {(site.kind, site.layer): (0, 1) for site in plan.sites if site.layer in layers}
    handle = register_module_forward_hook(lambda module, args, output: ran.update([type(module).__name__]))
    try:
        capturing.run(loaded, plan, batch, [keep], heads)
    finally:
        handle.remove()
    return ran, [layer.weights for attention in keep.result(batch.inputs) for layer in attention.layers]


def with_hook(model: PreTrainedModel) -> None:
    model.get_submodule("bert.encoder").register_forward_hook(lambda module, args, output: None)


def with_other_forward(model: PreTrainedModel) -> None:
    forward = model.forward
    model.forward = lambda *args, **kwargs: forward(*args, **kwargs)


@pytest.mark.parametrize("change", [with_hook, with_other_forward])
def test_a_pass_ends_with_the_last_rows(change: Callable[[PreTrainedModel], None]) -> None:
    model = families.build(FAMILIES["bert"])
    layers = model.config.num_hidden_layers
    ran, weights = captured(model, [*range(layers)])
    assert (ran["BertSelfAttention"], ran["BertLayer"], ran["BertModel"]) == (layers - 1, layers - 1, 0)
    first, weights_of_first = captured(model, [0])
    assert (first["BertEmbeddings"], first["BertLayer"]) == (1, 0)
    change(model)
    whole, same = captured(model, [*range(layers)])
    assert (whole["BertSelfAttention"], whole["BertLayer"], whole["BertModel"]) == (layers, layers, 1)
    assert all(map(np.array_equal, weights, same))
    assert all(map(np.array_equal, weights_of_first, weights))
