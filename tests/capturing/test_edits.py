"""Edits of attention weights, in models that dispatch their attention and in models that call softmax themselves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import families
import numpy as np
import pytest
import torch
from families import FAMILIES

from attncli import ModelError, UsageError
from attncli.capturing import CapturePlan, bind, bind_rows, edited_outputs, with_scales
from attncli.capturing import plan as make_plan
from attncli.data import edits
from attncli.data.edits import Edit
from attncli.engine.passes import Pass
from attncli.engine.request import Request
from attncli.inputs.batches import Batch, batch_from_tensors
from attncli.models import Loaded, wrap_model

EDITED = (*("bert", "deberta", "mpnet", "xlnet", "bloom", "gpt2", "gemma2", "gpt_oss", "funnel", "t5"),)
"""Families of each way to compute attention: masks, biases, caps, sinks, windows, grouped queries, cross-attention."""
REFUSED = {"longformer": "in a band around each query", "diffllama": "in several parts", "t5gemma2": "one softmax"}


def planned(name: str) -> tuple[Loaded, Batch, CapturePlan]:
    loaded = wrap_model(families.build(FAMILIES[name]))
    batch = batch_from_tensors(loaded, families.inputs(FAMILIES[name]))
    plan = make_plan(loaded, "auto", batch)
    return loaded, with_scales(batch, plan.scales), plan


def maps_of(loaded: Loaded, batch: Batch, plan: CapturePlan, *of: Edit) -> dict[tuple[str, int], np.ndarray]:
    """The captured weights of each layer, [head, query, key]."""
    prepared = Pass.prepare(replace(loaded, edits=of), plan, [batch], Request(any_axes=True))
    run = prepared.collect([text.text for text in batch.inputs])
    return {(maps.kind, layer.layer): layer.weights for maps in run.maps for layer in maps.layers}  # type: ignore[misc]


def output_of(loaded: Loaded, batch: Batch, plan: CapturePlan, *of: Edit) -> torch.Tensor:
    return edited_outputs(loaded, plan, batch, bind(plan, batch.inputs, of))[0]  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", EDITED)
def test_a_blocked_edge_gets_no_weight_and_the_softmax_of_the_rest(name: str) -> None:
    loaded, batch, plan = planned(name)
    unedited, plain = maps_of(loaded, batch, plan), output_of(loaded, batch, plan)
    identity = output_of(loaded, batch, plan, edits.temperature(1))
    torch.testing.assert_close(identity, plain, rtol=1e-5, atol=1e-5 * float(plain.abs().max()))
    for kind in {site.kind for site in plan.sites}:
        site = next(site for site in plan.sites if site.kind == kind)
        block = edits.block(3, 1, heads=f"{kind}:{site.layer}.1")
        expected = np.array(unedited[kind, site.layer], np.float64)
        weight = expected[1, 3, 1]
        assert weight > 1e-6
        expected[1, 3, 1] = 0
        expected[1, 3] /= 1 - weight  # sinks keep their part of what is left
        np.testing.assert_allclose(maps_of(loaded, batch, plan, block)[kind, site.layer], expected, atol=1e-5)
        assert not torch.allclose(output_of(loaded, batch, plan, block), plain, rtol=0, atol=1e-7)


@pytest.mark.parametrize(("name", "reason"), REFUSED.items())
def test_what_cannot_be_edited_is_refused_by_name(name: str, reason: str) -> None:
    loaded, batch, plan = planned(name)
    with pytest.raises(ModelError, match=reason):
        output_of(loaded, batch, plan, edits.uniform())


@pytest.fixture(scope="module")
def llama() -> tuple[Loaded, Batch, CapturePlan]:
    return planned("llama")


def test_edits_have_their_closed_forms(llama: tuple[Loaded, Batch, CapturePlan]) -> None:
    plain = maps_of(*llama)["decoder", 0]
    causal = np.tril(np.ones(plain.shape[1:]))

    def edited(edit: Edit) -> np.ndarray:
        maps = maps_of(*llama, edit)["decoder", 0]
        np.testing.assert_allclose(np.delete(maps, 2, 0), np.delete(plain, 2, 0), atol=1e-6)
        return maps[2]

    np.testing.assert_allclose(edited(edits.uniform("0.2")), causal / causal.sum(-1, keepdims=True), atol=1e-6)
    sharper = plain[2].astype(np.float64) ** 2
    sharper /= sharper.sum(-1, keepdims=True)
    np.testing.assert_allclose(edited(edits.temperature(0.5, "0.2")), sharper, atol=1e-5)
    near = plain[2] * np.triu(causal, -2)
    np.testing.assert_allclose(edited(edits.window(3, "0.2")), near / near.sum(-1, keepdims=True), atol=1e-5)
    shuffled = edited(edits.permute("0.2", seed=3))
    assert np.abs(shuffled - plain[2]).max() > 0.1
    assert not shuffled[causal == 0].any()
    np.testing.assert_allclose(np.sort(shuffled), np.sort(plain[2]), atol=1e-6)
    others = edited(edits.permute("0.2", seed=4)), edited(edits.permute("0.2", seed=3 + 2**40))
    assert all(np.abs(shuffled - other).max() > 0.1 for other in others)
    given = np.full(plain.shape[1:], 0.01, np.float32)
    np.testing.assert_allclose(edited(edits.replace("0.2", given)), given, atol=1e-7)


def test_a_row_with_nothing_left_gives_0(llama: tuple[Loaded, Batch, CapturePlan]) -> None:
    maps = maps_of(*llama, edits.block("3-4", "all", heads="0.2"))["decoder", 0]
    assert not maps[2, 3:5].any()
    np.testing.assert_allclose(np.delete(maps[2], [3, 4], 0).sum(-1), 1, atol=1e-5)


def test_blocked_edges_equal_a_mask_that_the_model_gets(llama: tuple[Loaded, Batch, CapturePlan]) -> None:
    """An independent reference: the model's own forward with a mask [1, 1, query, key] for all heads and layers."""
    loaded, batch, plan = llama
    tokens = batch.lengths[0]
    mask = torch.ones(tokens, tokens).tril().bool()
    mask[6:9, 2] = False
    model: Any = loaded.model
    with torch.no_grad():
        expected = model(input_ids=batch.tensors["input_ids"], attention_mask=mask[None, None]).logits
    torch.testing.assert_close(output_of(loaded, batch, plan, edits.block("6-8", 2)), expected, rtol=1e-4, atol=1e-5)


def test_each_text_of_a_batch_can_have_edits_of_its_own(llama: tuple[Loaded, Batch, CapturePlan]) -> None:
    loaded, batch, plan = llama
    twice = replace(batch, tensors={name: tensor.repeat(2, 1) for name, tensor in batch.tensors.items()})
    twice = replace(twice, inputs=batch.inputs * 2, source_mask=batch.source_mask.repeat(2, 1))
    of_texts = [[edits.block(5, 1), edits.zero("1.0")], [edits.uniform("2")]]
    together = edited_outputs(loaded, plan, twice, bind_rows(plan, twice.inputs, of_texts))[0]
    for row, of_text in enumerate(of_texts):
        alone = output_of(loaded, batch, plan, *of_text)[0]
        torch.testing.assert_close(together[row], alone, rtol=1e-4, atol=1e-5)


def test_gradients_reach_given_weights(llama: tuple[Loaded, Batch, CapturePlan]) -> None:
    """Central differences of the loss along a direction equal the gradient times the direction."""
    loaded, batch, plan = llama
    start = torch.from_numpy(np.array(maps_of(*llama)["decoder", 1][1], np.float32))
    direction = torch.randn(start.shape, generator=torch.Generator().manual_seed(0)).tril()

    def loss(weights: torch.Tensor, gradients: bool = False) -> torch.Tensor:
        bound = bind(plan, batch.inputs, [edits.replace("1.1", weights)])
        outputs = edited_outputs(loaded, plan, batch, bound, gradients=gradients)
        return outputs.logits.double().log_softmax(-1)[0, -1, 7]  # type: ignore[no-any-return]

    weights = start.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(weights, gradients=True), weights)
    step = 1e-2
    difference = (loss(start + step * direction) - loss(start - step * direction)) / (2 * step)
    assert float((gradient * direction).sum()) == pytest.approx(float(difference), rel=2e-2, abs=1e-4)


def test_eager_capture_edits_the_same(llama: tuple[Loaded, Batch, CapturePlan]) -> None:
    loaded, batch, plan = llama
    eager = make_plan(loaded, "eager", batch)
    of = (edits.block(5, 1), edits.uniform("1.2"), edits.zero("0.1"))
    for key, maps in maps_of(loaded, batch, plan, *of).items():
        np.testing.assert_allclose(maps_of(loaded, batch, eager, *of)[key], maps, atol=1e-5)


def test_values_of_another_length_are_refused(llama: tuple[Loaded, Batch, CapturePlan]) -> None:
    from attncli.capturing import check_edits

    _, batch, plan = llama
    with pytest.raises(UsageError, match="values for 3 x 3 tokens, the text has 12 x 12"):
        check_edits([edits.replace("0.1", np.zeros((3, 3)))], plan, batch.inputs, "llama")


def test_a_model_that_does_not_use_its_softmax_is_refused(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from attncli.capturing.editor import Editor
    from attncli.engine.runner import load_runner

    families.save(FAMILIES["mpnet"], tmp_path)
    runner = load_runner({"name": str(tmp_path)})
    assert runner.with_edits([edits.uniform("1")]).loaded.edits == (edits.uniform("1"),)
    monkeypatch.setattr(Editor, "softmax", lambda self, key, scores, weights: weights)
    with pytest.raises(ModelError, match="does not use the result of softmax in encoder:1"):
        runner.with_edits([edits.uniform("1")])
