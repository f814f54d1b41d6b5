"""‖f(x_j)‖ of every streamed family equals the model's own weights and the output of its output projection."""

from __future__ import annotations

from typing import Any

import families
import naive_norms
import numpy as np
import pytest
import torch
from capturing.test_families import Collector
from families import FAMILIES
from torch import nn

from attncli.capturing import CapturePlan, blocks, projection, routes
from attncli.capturing import plan as make_plan
from attncli.capturing import run as capture_run
from attncli.capturing.projection import value_norms
from attncli.data import Rows
from attncli.inputs.batches import batch_from_tensors
from attncli.models import Loaded, wrap_model
from attncli.stream.weights import NormRows

STREAMED = [name for name, family in FAMILIES.items() if family.route == "stream"]
CHANGED = {"diffllama", "qwen3_next"}
"""Families that norm or gate the output of their heads."""
SERVED = [name for name in STREAMED if name not in CHANGED]


def planned(model: Any, name: str, capture: Any = "auto") -> tuple[Loaded, Any, CapturePlan]:
    """The model of a family, its batch and its plan."""
    loaded = wrap_model(model)
    batch = batch_from_tensors(loaded, families.inputs(FAMILIES[name]))
    return loaded, batch, make_plan(loaded, capture, batch)


def weights_and_norms(model: Any, name: str) -> tuple[CapturePlan, Collector, Collector]:
    """The plan, the weights and the value-weighted norms of one pass."""
    loaded, batch, plan = planned(model, name)
    weights, norms = Collector(), Collector()
    capture_run(loaded, plan, batch, [weights, NormRows(norms)])  # type: ignore[arg-type]
    return plan, weights, norms


@pytest.mark.parametrize("name", sorted(naive_norms.PARTS))
def test_norms_equal_those_of_the_models_own_weights(name: str) -> None:
    plan, _, norms = weights_and_norms(families.build(FAMILIES[name]), name)
    truth = families.reference(FAMILIES[name])
    assert sorted(norms.text(0)) == sorted(truth)
    for site in plan.sites:
        naive = naive_norms.reference(name, site.kind, site.name, site.key[1])
        expected = truth[site.kind, site.layer][0] * naive[:, None]
        np.testing.assert_allclose(norms.text(0)[site.kind, site.layer], expected, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("name", SERVED)
def test_weighted_sums_of_f_equal_the_output_of_the_projection(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[torch.Tensor, torch.Tensor, int]] = []

    def spy(*args: Any) -> torch.Tensor:
        calls.append(args)
        return value_norms(*args)

    monkeypatch.setattr(routes, "value_norms", spy)
    model = families.build(FAMILIES[name])
    outputs: dict[str, list[torch.Tensor]] = {}

    def record_outputs(module: nn.Module, label: str) -> None:
        module.register_forward_hook(lambda _, args, output: outputs.setdefault(label, []).append(output))

    loaded, batch, plan = planned(model, name)
    for label in {site.projection.name for site in plan.sites if site.projection}:
        record_outputs(model.get_submodule(label), label)
    weights = Collector()
    capture_run(loaded, plan, batch, [weights, NormRows(Collector())])  # type: ignore[arg-type]
    assert len(calls) == len(plan.sites)
    counts = dict.fromkeys(outputs, 0)
    other_keys: np.ndarray | None = None
    for site, (value, matrix, heads) in zip(_in_call_order(plan), calls, strict=True):
        assert site.projection is not None
        label = site.projection.name
        bias = getattr(model.get_submodule(label), "bias", None)
        output = outputs[label][counts[label]].detach().double().reshape(-1, matrix.shape[1]).numpy()
        by_head = matrix.detach().double().unflatten(0, (heads, -1))
        expected = np.zeros_like(output) if bias is None else np.tile(bias.detach().double().numpy(), (len(output), 1))
        if other_keys is not None:
            expected, other_keys = other_keys, None
        for head, head_weights in enumerate(weights.text(0)[site.kind, site.layer]):
            f = value[0, head * value.shape[1] // heads].double() @ by_head[head]
            expected += head_weights @ f.numpy()
        if site.part == "first":  # one softmax over its own tokens and those of the encoder, which come next
            other_keys = expected
            continue
        counts[label] += 1
        np.testing.assert_allclose(output, expected, atol=1e-5 * max(1, np.abs(output).max()), rtol=0)


def _in_call_order(plan: CapturePlan) -> list[Any]:
    """The sites in the order of their calls: those of the encoder, then the decoder layer by layer."""
    return sorted(plan.sites, key=lambda site: (site.kind != "encoder", site.layer, site.kind == "cross"))


@pytest.mark.parametrize("name", sorted(CHANGED))
def test_there_are_no_norms_if_the_output_of_the_heads_is_changed(name: str) -> None:
    _, _, plan = planned(families.build(FAMILIES[name]), name)
    assert plan.sites
    assert all("gated or changed" in site.no_norms for site in plan.sites)


@pytest.mark.parametrize(("name", "capture"), [("bloom", "auto"), ("bert", "eager")])
def test_there_are_no_norms_if_the_model_computes_its_weights(name: str, capture: str) -> None:
    _, _, plan = planned(families.build(FAMILIES[name]), name, capture)
    assert all("the model computes its weights itself" in site.no_norms for site in plan.sites)


# ------------------------------------------------------------------------- modules in the place of W_O


class Adapted(nn.Module):
    """A linear layer with a low-rank adapter, as fine-tuning leaves it."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base = base
        self.down = nn.Linear(base.in_features, 3, bias=False)
        self.up = nn.Linear(3, base.out_features, bias=False)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.base(hidden) + self.up(self.down(hidden))  # type: ignore[no-any-return]


def replaced(name: str, attribute: str, change: Any) -> Any:
    """The model of a family with another module in place of each module of this name."""
    model = families.build(FAMILIES[name])
    torch.manual_seed(2)
    for parent in list(model.modules()):
        if hasattr(parent, attribute):
            setattr(parent, attribute, change(getattr(parent, attribute)))
    return model


def test_an_adapter_and_its_base_count_as_one_projection() -> None:
    model = replaced("llama", "o_proj", Adapted)
    plan, _, adapted = weights_and_norms(model, "llama")
    assert {site.projection.form for site in plan.sites if site.projection} == {"called"}
    assert all(site.projection and site.projection.name.endswith(".o_proj") for site in plan.sites)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, Adapted):
                module.base.weight += module.up.weight @ module.down.weight
    merged = replaced("llama", "nothing", None)
    merged.load_state_dict({key.replace("o_proj.base", "o_proj"): value for key, value in model.state_dict().items()
                            if ".down." not in key and ".up." not in key})  # fmt: skip
    for layer, norms in weights_and_norms(merged, "llama")[2].text(0).items():
        np.testing.assert_allclose(adapted.text(0)[layer], norms, atol=2e-5, rtol=1e-4)


class Normalized(nn.Module):
    """A projection that normalises its input first."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.norm, self.base = nn.LayerNorm(base.in_features), base

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.base(self.norm(hidden))  # type: ignore[no-any-return]


def test_a_module_with_a_norm_is_no_projection() -> None:
    _, _, plan = planned(replaced("llama", "o_proj", Normalized), "llama")
    assert all(site.projection is None for site in plan.sites)


def test_values_decide_whether_a_matrix_is_transposed() -> None:
    """The shape of a square matrix does not show it."""
    forms = {name: planned(families.build(FAMILIES[name]), name)[2].sites[0].projection for name in ("bert", "gpt2")}
    assert [found.form for found in forms.values() if found] == ["out_in", "in_out"]


# --------------------------------------------------------------------------------------- numbers alone


def test_norms_of_a_head_by_hand() -> None:
    value = torch.tensor([[[[1.0, 0.0], [0.0, 2.0]]]])  # one head that two query heads share, two keys
    matrix = torch.tensor([[3.0, 4.0], [0.0, 1.0], [1.0, 0.0], [0.0, 0.5]])
    assert value_norms(value, matrix, heads=2).tolist() == [[[5.0, 2.0], [1.0, 1.0]]]


def test_norms_of_many_keys_are_computed_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    value, matrix = torch.randn(2, 2, 11, 4), torch.randn(16, 8)
    expected = value_norms(value, matrix, heads=4)
    monkeypatch.setattr(projection, "CELLS", 50)
    assert torch.allclose(value_norms(value, matrix, heads=4), expected, rtol=1e-6)


@pytest.mark.parametrize("keys", [12, 13])
def test_norms_of_long_texts_are_those_of_whole_products(keys: int) -> None:
    value, matrix = torch.randn(2, 2, keys, 3), torch.randn(12, 24)
    matrix[3:6, 1:] *= 1e-4  # one head writes almost along one line
    by_query_head = value.double().repeat_interleave(2, dim=1)
    expected = (by_query_head @ matrix.double().view(4, 3, 24)).norm(dim=-1)
    assert torch.allclose(value_norms(value, matrix, heads=4).double(), expected, rtol=1e-5)


def test_small_blocks_give_the_same_norms(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = weights_and_norms(families.build(FAMILIES["mistral"]), "mistral")[2]
    monkeypatch.setattr(blocks, "ROWS", 5)
    monkeypatch.setitem(blocks.CELLS, "cpu", 40)
    parts = weights_and_norms(families.build(FAMILIES["mistral"]), "mistral")[2]
    assert parts.blocks > expected.blocks
    for layer, norms in expected.text(0).items():
        np.testing.assert_allclose(parts.text(0)[layer], norms, atol=1e-5)


@pytest.mark.parametrize("name", ["bert", "gpt2", "llama"])
def test_norms_of_a_bfloat16_model_are_nearly_the_same(name: str) -> None:
    exact = weights_and_norms(families.build(FAMILIES[name]), name)[2]
    coarse = weights_and_norms(families.build(FAMILIES[name]).to(torch.bfloat16), name)[2]
    for layer, norms in exact.text(0).items():
        assert np.abs(coarse.text(0)[layer] - norms).mean() < 0.02 * norms.mean() + 0.01


class NormWatcher(Collector):
    """A sink that records whether blocks have norms."""

    norms = False

    def add(self, rows: Rows) -> None:
        self.norms |= rows.norms is not None
        super().add(rows)


def test_norms_are_computed_only_if_a_sink_needs_them() -> None:
    loaded, batch, plan = planned(families.build(FAMILIES["bert"]), "bert")
    sink = NormWatcher()
    capture_run(loaded, plan, batch, [sink])
    assert sink.blocks
    assert not sink.norms
