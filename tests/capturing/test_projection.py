"""f(x_j) of every family that streams: by the model's own weights, and by what its output projection puts out."""

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
from attncli.stream.norms import NormRows

STREAMED = [name for name, family in FAMILIES.items() if family.route == "stream"]
CHANGED = {"diffllama", "qwen3_next"}
"""Families that norm or gate what the heads put out."""
SERVED = [name for name in STREAMED if name not in CHANGED]


def planned(model: Any, name: str, capture: Any = "auto") -> tuple[Loaded, Any, CapturePlan]:
    loaded = wrap_model(model)
    batch = batch_from_tensors(loaded, families.inputs(FAMILIES[name]))
    return loaded, batch, make_plan(loaded, capture, batch)


def both(model: Any, name: str) -> tuple[CapturePlan, Collector, Collector]:
    """Weights and norms of one pass."""
    loaded, batch, plan = planned(model, name)
    weights, norms = Collector(), Collector()
    capture_run(loaded, plan, batch, [weights, NormRows(norms)])  # type: ignore[arg-type]
    return plan, weights, norms


@pytest.mark.parametrize("name", sorted(naive_norms.PARTS))
def test_norms_are_those_of_the_models_own_weights(name: str) -> None:
    plan, _, found = both(families.build(FAMILIES[name]), name)
    truth = families.reference(FAMILIES[name])
    assert sorted(found.text(0)) == sorted(truth)
    for site in plan.sites:
        norms = naive_norms.reference(name, site.kind, site.name, site.key[1])
        expected = truth[site.kind, site.layer][0] * norms[:, None]
        np.testing.assert_allclose(found.text(0)[site.kind, site.layer], expected, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("name", SERVED)
def test_weighted_sums_of_f_are_what_the_output_projection_puts_out(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[tuple[torch.Tensor, torch.Tensor, int]] = []

    def spy(*given: Any) -> torch.Tensor:
        used.append(given)
        return value_norms(*given)

    monkeypatch.setattr(routes, "value_norms", spy)
    model = families.build(FAMILIES[name])
    written: dict[str, list[torch.Tensor]] = {}

    def watched(module: nn.Module, label: str) -> None:
        module.register_forward_hook(lambda _, given, made: written.setdefault(label, []).append(made))

    loaded, batch, plan = planned(model, name)
    for label in {site.projection.name for site in plan.sites if site.projection}:
        watched(model.get_submodule(label), label)
    weights = Collector()
    capture_run(loaded, plan, batch, [weights, NormRows(Collector())])  # type: ignore[arg-type]
    assert len(used) == len(plan.sites)
    calls = dict.fromkeys(written, 0)
    for site, (value, matrix, heads) in zip(_as_called(plan, name), used, strict=True):
        assert site.projection is not None
        label = site.projection.name
        bias = getattr(model.get_submodule(label), "bias", None)
        made = written[label][calls[label]].detach().double().reshape(-1, matrix.shape[1]).numpy()
        calls[label] += 1
        by_head = matrix.detach().double().unflatten(0, (heads, -1))
        expected = np.zeros_like(made) if bias is None else np.tile(bias.detach().double().numpy(), (len(made), 1))
        for head, own in enumerate(weights.text(0)[site.kind, site.layer]):
            f = value[0, head * value.shape[1] // heads].double() @ by_head[head]
            expected += own @ f.numpy()
        np.testing.assert_allclose(made, expected, atol=1e-5 * max(1, np.abs(made).max()), rtol=0)


def _as_called(plan: CapturePlan, name: str) -> list[Any]:
    """The sites in the order of their calls: the encoder's, then layer by layer of the decoder."""
    return sorted(plan.sites, key=lambda site: (site.kind != "encoder", site.layer, site.kind == "cross"))


@pytest.mark.parametrize("name", sorted(CHANGED))
def test_where_what_heads_put_out_is_changed_there_are_no_norms(name: str) -> None:
    _, _, plan = planned(families.build(FAMILIES[name]), name)
    assert plan.sites
    assert all("gated or changed" in site.no_norms for site in plan.sites)


@pytest.mark.parametrize(("name", "capture"), [("bloom", "auto"), ("bert", "eager")])
def test_where_the_model_computes_its_weights_there_are_no_norms(name: str, capture: str) -> None:
    _, _, plan = planned(families.build(FAMILIES[name]), name, capture)
    assert all("the model itself" in site.no_norms for site in plan.sites)


# ---------------------------------------------------------------------------- what takes the place of W_O


class Adapted(nn.Module):
    """A linear layer with a low-rank adapter, as fine-tuning leaves it."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base = base
        self.down = nn.Linear(base.in_features, 3, bias=False)
        self.up = nn.Linear(3, base.out_features, bias=False)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.base(hidden) + self.up(self.down(hidden))  # type: ignore[no-any-return]


def replaced(name: str, path: str, change: Any) -> Any:
    """A family's model with another module in place of each of these."""
    model = families.build(FAMILIES[name])
    torch.manual_seed(2)
    for parent in list(model.modules()):
        if hasattr(parent, path):
            setattr(parent, path, change(getattr(parent, path)))
    return model


def test_an_adapter_counts_with_the_matrix_inside() -> None:
    model = replaced("llama", "o_proj", Adapted)
    plan, _, found = both(model, "llama")
    assert {site.projection.form for site in plan.sites if site.projection} == {"called"}
    assert all(site.projection and site.projection.name.endswith(".o_proj") for site in plan.sites)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, Adapted):
                module.base.weight += module.up.weight @ module.down.weight
    merged = replaced("llama", "nothing", None)
    merged.load_state_dict({key.replace("o_proj.base", "o_proj"): value for key, value in model.state_dict().items()
                            if ".down." not in key and ".up." not in key})  # fmt: skip
    for place, norms in both(merged, "llama")[2].text(0).items():
        np.testing.assert_allclose(found.text(0)[place], norms, atol=2e-5, rtol=1e-4)


class Normalized(nn.Module):
    """A projection of what it normalises first."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.norm, self.base = nn.LayerNorm(base.in_features), base

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.base(self.norm(hidden))  # type: ignore[no-any-return]


def test_a_norm_before_the_projection_is_not_taken_for_one() -> None:
    _, _, plan = planned(replaced("llama", "o_proj", Normalized), "llama")
    assert all(site.projection is None for site in plan.sites)


def test_whether_a_matrix_is_turned_is_told_by_numbers() -> None:
    """Square matrices have no shape to tell it by."""
    forms = {name: planned(families.build(FAMILIES[name]), name)[2].sites[0].projects for name in ("bert", "gpt2")}
    assert [each.form for each in forms.values() if each] == ["out_in", "in_out"]


# --------------------------------------------------------------------------------------- numbers alone


def test_norms_of_a_head_by_hand() -> None:
    value = torch.tensor([[[[1.0, 0.0], [0.0, 2.0]]]])  # one head that two query heads share, two keys
    matrix = torch.tensor([[3.0, 4.0], [0.0, 1.0], [1.0, 0.0], [0.0, 0.5]])
    assert value_norms(value, matrix, heads=2).tolist() == [[[5.0, 2.0], [1.0, 1.0]]]


def test_many_keys_are_taken_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    value, matrix = torch.randn(2, 2, 11, 4), torch.randn(16, 8)
    whole = value_norms(value, matrix, heads=4)
    monkeypatch.setattr(projection, "CELLS", 50)
    assert torch.allclose(value_norms(value, matrix, heads=4), whole, rtol=1e-6)


def test_blocks_of_few_rows_and_heads_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = both(families.build(FAMILIES["mistral"]), "mistral")[2]
    monkeypatch.setattr(blocks, "ROWS", 5)
    monkeypatch.setitem(blocks.CELLS, "cpu", 40)
    parts = both(families.build(FAMILIES["mistral"]), "mistral")[2]
    assert parts.blocks > whole.blocks
    for place, norms in whole.text(0).items():
        np.testing.assert_allclose(parts.text(0)[place], norms, atol=1e-5)


@pytest.mark.parametrize("name", ["bert", "gpt2", "llama"])
def test_of_a_bfloat16_model_they_are_about_the_same(name: str) -> None:
    exact = both(families.build(FAMILIES[name]), name)[2]
    coarse = both(families.build(FAMILIES[name]).to(torch.bfloat16), name)[2]
    for place, norms in exact.text(0).items():
        assert np.abs(coarse.text(0)[place] - norms).mean() < 0.02 * norms.mean() + 0.01


class Watching(Collector):
    """Sees whether norms come along."""

    norms = False

    def add(self, rows: Rows) -> None:
        self.norms |= rows.norms is not None
        super().add(rows)


def test_nobody_pays_who_does_not_ask() -> None:
    loaded, batch, plan = planned(families.build(FAMILIES["bert"]), "bert")
    sink = Watching()
    capture_run(loaded, plan, batch, [sink])
    assert sink.blocks
    assert not sink.norms
