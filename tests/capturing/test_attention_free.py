"""The layers of a hybrid model without softmax attention are named with the class that they have instead."""

from __future__ import annotations

import families
import pytest
from families import FAMILIES

from attncli.capturing import plan
from attncli.inputs.batches import batch_from_tensors
from attncli.models import wrap_model


def refused_layers(name: str) -> list[tuple[str, str]]:
    """The layers that the plan of a family refuses, as (names, reason)."""
    family = FAMILIES[name]
    loaded = wrap_model(families.build(family))
    return list(plan(loaded, "auto", batch_from_tensors(loaded, families.inputs(family))).refused)


def test_the_state_space_layers_of_a_hybrid_are_named() -> None:
    ((names, reason),) = refused_layers("jamba")
    layers = [int(number) for number in names.removeprefix("model.layers.").removeprefix("layers.").split(",")]
    (attention,) = FAMILIES["jamba"].layers.values()
    count = FAMILIES["jamba"].config["num_hidden_layers"]
    assert layers == [number for number in range(count) if number not in attention]
    assert reason == "JambaMambaMixer has no softmax attention"


@pytest.mark.parametrize("name", ["bert", "albert", "t5", "llama", "gpt2", "mistral"])
def test_models_with_attention_in_every_layer_have_no_refused_layers(name: str) -> None:
    assert refused_layers(name) == []
