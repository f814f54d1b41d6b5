"""Under `torch.autocast` the weights of the model are captured, and sums over them keep their precision."""

from __future__ import annotations

import families
import numpy as np
import pytest
import torch
from families import FAMILIES

import attncli
from attncli.capturing.weights import weights_problem


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["bert", "gpt2", "deberta_v2", "t5"])
def test_weights_that_a_softmax_rounds_are_those_of_the_model(name: str, dtype: torch.dtype) -> None:
    family = FAMILIES[name]
    model, tensors = families.build(family, "eager"), families.inputs(family, (90,))
    with torch.autocast("cpu", dtype), torch.no_grad():
        own = model(**tensors, output_attentions=True)
        run = attncli.capture(model, tensors, capture="eager")
    for kind in family.layers:
        maps = families.named(own, families.OUTPUTS[kind])
        for layer, weights in zip(family.layers[kind], maps, strict=True):
            np.testing.assert_array_equal(run.attention(kind).sel(layer=layer).values, weights[0].float())


def test_sums_of_sinks_are_not_rounded() -> None:
    model, tensors = families.build(FAMILIES["bert"]), families.inputs(FAMILIES["bert"], (90,))
    with torch.autocast("cpu", torch.bfloat16):
        full = attncli.capture(model, tensors)
        pooled = attncli.capture(model, tensors, resolution=9, pool="mean")
        metrics = attncli.capture(model, tensors, keep_maps=False, metrics=["distance"])
    cells = full.attention("encoder").sel(layer=1, head=2).values.reshape(9, 10, 9, 10).mean((1, 3))
    np.testing.assert_allclose(pooled.attention("encoder").sel(layer=1, head=2).values, cells, rtol=1e-5)
    np.testing.assert_allclose(
        metrics.stats()["distance"].values, full.stats(metrics=["distance"])["distance"].values, rtol=1e-5
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_may_exceed_1_by_the_rounding_of_the_softmax_only(dtype: torch.dtype) -> None:
    weights, real = torch.full((1, 1, 1, 4), 0.2505), torch.ones((1, 1), dtype=torch.bool)
    assert weights_problem(weights.to(dtype), real, torch.float32) == (
        "its rows sum to up to 1.002 instead of 1: they are not softmax weights" if dtype == torch.float32 else None
    )
    with torch.autocast("cpu", torch.bfloat16):
        assert weights_problem(weights, real, torch.float32) is None
        assert weights_problem(1.02 * weights, real, torch.float32) is not None
