"""A gate of 1 changes nothing and a gate of 0 equals zero columns of W_O, in every family with an output projection."""

from __future__ import annotations

import copy
from typing import Any

import families
import pytest
import torch
from families import FAMILIES
from torch import nn

from attncli.capturing import CapturePlan, Shadow
from attncli.capturing import plan as make_plan
from attncli.capturing.gates import Gate, LayerKey, gate_sites, gated, head_outputs, ungated
from attncli.capturing.probe import call_model
from attncli.inputs.batches import Batch, batch_from_tensors
from attncli.models import Loaded, wrap_model

REFUSED = {
    "convbert": "heads and convolutions share the input of its projection",
    "diffllama": "norms the output of its heads",
    "led": "its encoder multiplies bands",
    "longformer": "multiplies bands",
    "longt5": "its encoder multiplies blocks",
    "prophetnet": "its decoder reads n-gram streams too",
    "qwen3_next": "gates the output of its heads",
    "squeezebert": "multiplies with the channels first",
    "t5gemma2": "its decoder reads two stacks in one softmax",
    "xlnet": "multiplies W_O by einsum",
}
"""Families with heads that have no gate, and why."""
GATED = (
    *(
        "bert",
        "albert",
        "deberta",
        "xlm",
        "funnel",
        "gpt2",
        "bloom",
        "llama",
        "falcon_alibi",
        "mpt",
        "gpt_oss",
        "zamba2",
    ),
    *("deepseek_v3", "t5", "bart"),
)
"""Families whose heads all have gates: one of each way to compute attention and to share modules or weights."""


def planned(name: str, lengths: tuple[int, ...] = (12,)) -> tuple[Loaded, Batch, CapturePlan]:
    loaded = wrap_model(families.build(FAMILIES[name]))
    batch = batch_from_tensors(loaded, families.inputs(FAMILIES[name], lengths))
    return loaded, batch, make_plan(loaded, "auto", batch)


def output_of(model: Any, batch: Batch) -> torch.Tensor:
    """The first output of a model: its logits or last hidden states."""
    with torch.no_grad():
        return call_model(model, batch)[0]  # type: ignore[no-any-return]


def one_head_each(model: nn.Module, sites: dict[LayerKey, Any]) -> dict[LayerKey, int]:
    """A head of each layer, not always the same; layers that share W_O have the same."""
    weights = {key: id(model.get_submodule(site.projection.name).weight) for key, site in sites.items()}
    numbers = list(dict.fromkeys(weights.values()))
    return {key: (1 + numbers.index(weights[key])) % site.heads for key, site in sites.items()}


@torch.no_grad()
def without_columns(model: Any, sites: dict[LayerKey, Any], heads: dict[LayerKey, int]) -> Any:
    """A copy of a model with zero columns of W_O for a head of each layer.

    Its attention is eager: Falcon's own sdpa is not causal.
    """
    copied = copy.deepcopy(model)
    for key, site in sites.items():
        weight: Any = copied.get_submodule(site.projection.name).weight
        columns = weight.T if site.projection.form == "in_out" else weight
        columns.unflatten(1, (site.heads, -1))[:, heads[key]] = 0
    return Shadow(copied).model


@pytest.mark.parametrize("name", [*GATED, *REFUSED])
def test_zero_equals_zero_columns_of_the_output_projection(name: str) -> None:
    loaded, batch, plan = planned(name)
    sites = gate_sites(plan)
    assert bool(ungated(plan)) == (name in REFUSED)
    if not sites:
        assert name in REFUSED
        return
    shadow, heads = Shadow(loaded.model), one_head_each(loaded.model, sites)
    before = output_of(shadow.model, batch)
    with gated(shadow.model, sites, {key: Gate(torch.ones(1, site.heads)) for key, site in sites.items()}):
        assert torch.equal(output_of(shadow.model, batch), before)
    gates = {key: Gate(torch.ones(1, site.heads)) for key, site in sites.items()}
    for key, head in heads.items():
        gates[key].factor[0, head] = 0
    with gated(shadow.model, sites, gates):
        edited = output_of(shadow.model, batch)
    expected = output_of(without_columns(loaded.model, sites, heads), batch)
    scale = float(expected.abs().max())
    assert float((edited - before).abs().max()) > 1e-3 * scale
    assert float((edited - expected).abs().max()) <= 1e-5 * scale
    assert torch.equal(output_of(shadow.model, batch), before)


def test_rows_of_a_batch_have_their_own_gates() -> None:
    loaded, batch, plan = planned("bart")
    sites, shadow = gate_sites(plan), Shadow(loaded.model)
    key: LayerKey = ("cross", 1)
    factor = torch.tensor([[1.0, 1.0], [0.0, 1.0], [1.0, 0.5]])
    single = []
    for row in factor:
        with gated(shadow.model, sites, {key: Gate(row[None])}):
            single.append(output_of(shadow.model, batch))
    with gated(shadow.model, sites, {key: Gate(factor)}):
        tensors = {name: tensor.expand(3, -1) for name, tensor in batch.tensors.items()}
        together = shadow.model(**tensors, use_cache=False)[0]
    torch.testing.assert_close(together, torch.cat(single))


def test_a_shared_module_is_gated_in_one_of_its_layers() -> None:
    """ALBERT calls one module three times: the gate of layer 1 acts on its second call, pass after pass."""
    loaded, batch, plan = planned("albert")
    sites, shadow = gate_sites(plan), Shadow(loaded.model)
    seen: list[tuple[LayerKey, float]] = []

    def note(key: LayerKey, output: torch.Tensor) -> torch.Tensor:
        seen.append((key, float(output.abs().sum())))
        return output

    with gated(shadow.model, sites, {("encoder", 1): Gate(torch.zeros(1, 4))}), head_outputs(shadow.model, sites, note):
        output_of(shadow.model, batch)
        output_of(shadow.model, batch)
    assert [(key[1], total > 0) for key, total in seen] == [(0, True), (1, False), (2, True)] * 2


def test_a_mean_replaces_the_output() -> None:
    loaded, batch, plan = planned("gpt2")
    sites, shadow = gate_sites(plan), Shadow(loaded.model)
    mean, seen = torch.randn(4, 8), []

    def note(key: LayerKey, output: torch.Tensor) -> torch.Tensor:
        seen.append(output)
        return output

    factor = torch.tensor([[1.0, 0.0, 0.25, 1.0]])
    with head_outputs(shadow.model, {("decoder", 0): sites["decoder", 0]}, note):
        output_of(shadow.model, batch)
    with (
        gated(shadow.model, sites, {("decoder", 0): Gate(factor, mean)}),
        head_outputs(shadow.model, {("decoder", 0): sites["decoder", 0]}, note),
    ):
        output_of(shadow.model, batch)
    plain, replaced = seen
    torch.testing.assert_close(replaced[:, :, 1], mean[1].expand_as(replaced[:, :, 1]))
    torch.testing.assert_close(replaced[:, :, 2], 0.25 * plain[:, :, 2] + 0.75 * mean[2])
    assert torch.equal(replaced[:, :, [0, 3]], plain[:, :, [0, 3]])


def test_gradients_of_gates_equal_differences() -> None:
    loaded, batch, plan = planned("t5")
    shadow, sites = Shadow(loaded.model.double()), gate_sites(plan)

    def loss(factors: dict[LayerKey, torch.Tensor]) -> torch.Tensor:
        with gated(shadow.model, sites, {key: Gate(factor) for key, factor in factors.items()}):
            logits = shadow.model(**batch.tensors, use_cache=False).logits
        return logits.log_softmax(-1)[..., 7].mean()  # type: ignore[no-any-return]

    factors = {key: torch.ones(1, site.heads, dtype=torch.float64) for key, site in sites.items()}
    tracked = {key: factor.clone().requires_grad_() for key, factor in factors.items()}
    gradients = torch.autograd.grad(loss(tracked), list(tracked.values()))
    assert all(parameter.grad is None for parameter in loaded.model.parameters())
    for (key, factor), gradient in zip(factors.items(), gradients, strict=True):
        shifted = []
        for step in (1e-3, -1e-3):
            factor[0, 1] = 1 + step
            shifted.append(loss(factors).item())
            factor[0, 1] = 1
        # the model computes softmax in float32
        assert float(gradient[0, 1]) == pytest.approx((shifted[0] - shifted[1]) / 2e-3, rel=1e-2, abs=2e-4), key


def test_heads_without_gates_are_refused_by_name() -> None:
    problem = ungated(planned("xlnet")[2])["encoder", 1]
    assert problem.startswith("heads of encoder layer 1 (transformer.layer.1.rel_attn) cannot be edited: no output")
