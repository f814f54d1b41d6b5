"""Captured maps of every family, by every route, equal the float64 reference or are refused by name."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import cache
from itertools import cycle
from pathlib import Path
from typing import Any

import families
import numpy as np
import pytest
import torch
from families import FAMILIES, Family
from torch.overrides import _get_current_function_mode_stack
from transformers import PreTrainedModel
from transformers.modeling_utils import AttentionInterface

from attncli import registry
from attncli.capturing import CapturePlan, blocks
from attncli.capturing import plan as make_plan
from attncli.capturing import run as capture_run
from attncli.data import Rows, Text
from attncli.errors import ModelError, OutputError
from attncli.inputs.batches import Batch, batch_from_tensors
from attncli.inputs.encode import encode
from attncli.models import Loaded, load, wrap_model
from attncli.stream import Measure

Layer = tuple[str, int]
SERVED = [name for name, family in FAMILIES.items() if family.route != "refuse"]
STREAMED = [name for name in SERVED if FAMILIES[name].route == "stream"]
METRICS = [module.METRIC for module in registry.modules("metrics").values()]
INLINE = [name for name in SERVED if FAMILIES[name].route == "eager"]


@cache
def truth(name: str) -> families.Maps:
    """The reference of a family on its own input."""
    return families.reference(FAMILIES[name])


class Collector:
    """A sink that joins the row blocks of each text to full matrices."""

    def __init__(self) -> None:
        self.weights: dict[tuple[int, Layer], np.ndarray] = {}
        self.visible: dict[tuple[int, Layer], np.ndarray] = {}
        self.ended: list[Layer] = []
        self.blocks = 0

    def add(self, rows: Rows) -> None:
        self.blocks += 1
        visible, heads = rows.visibility.visible.expand_as(rows.weights), np.array(rows.heads)
        for entry, text in enumerate(rows.texts):
            queries, keys = rows.query_positions[entry].numpy(), rows.key_positions[entry].numpy()
            layer = (text, (str(rows.kind), rows.layer))
            shape = (rows.query_lengths[entry], rows.key_lengths[entry])
            for store, values in ((self.weights, rows.weights.double()), (self.visible, visible)):
                block = values[entry][:, queries >= 0][:, :, keys >= 0].numpy()
                matrices = store[layer] = _with_heads(store.get(layer), 1 + max(rows.heads), shape)
                all_keys = np.ix_(heads, queries[queries >= 0])
                assert np.isnan(matrices[all_keys]).all(), "each row of each head comes once"
                matrices[all_keys] = 0
                matrices[np.ix_(heads, queries[queries >= 0], keys[keys >= 0])] = block

    def end_layer(self, kind: str, layer: int) -> None:
        self.ended.append((kind, layer))

    def text(self, number: int) -> dict[Layer, np.ndarray]:
        return {layer: weights for (text, layer), weights in self.weights.items() if text == number}


def _with_heads(maps: np.ndarray | None, heads: int, shape: tuple[int, int]) -> np.ndarray:
    """Return the maps with this number of heads; NaN for rows that did not arrive yet."""
    maps = np.empty((0, *shape)) if maps is None else maps
    return np.concatenate([maps, np.full((max(0, heads - len(maps)), *shape), np.nan)])


def capture(loaded: Loaded, batch: Batch, route: Any = "auto") -> tuple[CapturePlan, Collector]:
    """Plan and capture one pass."""
    plan, sink = make_plan(loaded, route, batch), Collector()
    capture_run(loaded, plan, batch, [sink])
    return plan, sink


@cache
def shared(name: str) -> Loaded:
    """Return the model of a family for all tests that only capture it: captures leave it unchanged."""
    return wrap_model(families.build(FAMILIES[name]))


def run(family: Family, route: str = "auto") -> tuple[CapturePlan, Collector]:
    loaded = shared(family.name)
    return capture(loaded, batch_from_tensors(loaded, families.inputs(family)), route)


@cache
def by_chosen_route(name: str) -> tuple[CapturePlan, Collector]:
    """Return the capture of a family by the route that it takes by itself."""
    return run(FAMILIES[name])


@cache
def alone(name: str) -> Collector:
    """Return the capture of the shorter of two texts, without padding."""
    loaded, both = shared(name), families.inputs(FAMILIES[name], (12, 7))
    return capture(loaded, batch_from_tensors(loaded, _without_padding(both, 1)))[1]


def check(family: Family, plan: CapturePlan, sink: Collector, truth: families.Maps) -> None:
    """Check that maps are exact and complete, except layers that the plan refuses and the table lets it refuse."""
    maps = sink.text(0)
    lacking = {layer for layer in truth if layer not in maps}
    may_lack = {(kind, layer) for kind, layers in family.refused.items() for layer in layers}
    assert lacking <= may_lack
    assert not lacking or plan.refused
    assert sorted(maps) == sorted(set(truth) - lacking)
    assert sorted(sink.ended) == sorted(maps)
    for (kind, layer), weights in maps.items():
        assert weights.shape[0] == family.heads[kind]  # type: ignore[index]
        np.testing.assert_allclose(weights, truth[kind, layer][0], atol=1e-5, rtol=0)  # type: ignore[index]


# ---------------------------------------------------------------------------------------------- exact


@pytest.mark.parametrize("name", SERVED)
def test_the_chosen_route_gives_exact_weights_and_visibility(name: str) -> None:
    family = FAMILIES[name]
    plan, sink = by_chosen_route(name)
    assert plan.route == family.route
    check(family, plan, sink, truth(name))
    for (_, (kind, layer)), visible in sink.visible.items():
        assert (visible == families.visible(family, kind, layer, *visible.shape[1:])).all(), (kind, layer)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", STREAMED)
def test_both_routes_give_the_same_numbers(name: str) -> None:
    family = FAMILIES[name]
    (plan, streamed), (other, eager) = by_chosen_route(name), run(family, "eager")
    assert (plan.route, other.route) == ("stream", "eager")
    assert all(site.route == "eager" for site in other.sites)
    ours, theirs = streamed.text(0), eager.text(0)
    assert sorted(ours) == sorted(theirs)
    for layer, weights in ours.items():
        np.testing.assert_allclose(weights, theirs[layer], atol=1e-5, rtol=0)
        assert (streamed.visible[0, layer] == eager.visible[0, layer]).all()


@pytest.mark.parametrize("name", [name for name in SERVED if FAMILIES[name].is_encoder_decoder])
def test_kinds_are_distinguished_if_source_and_target_have_the_same_length(name: str) -> None:
    family = FAMILIES[name]
    tensors = {key: value[:, :8] for key, value in families.inputs(family).items()}
    loaded = shared(name)
    plan, sink = capture(loaded, batch_from_tensors(loaded, tensors))
    check(family, plan, sink, families.reference(family, tensors))


@pytest.mark.parametrize("name", SERVED)
def test_a_saved_model_loads_and_gives_every_layer_of_a_real_text(name: str, tmp_path: Path) -> None:
    family = FAMILIES[name]
    loaded = load(str(families.save(family, tmp_path / name)), device="cpu")
    text = "The animal did not cross the street because it was too tired and a red dog saw it."
    batch = next(encode(loaded, [Text(text, target="It was")]))
    plan, sink = make_plan(loaded), Collector()  # planned on a shorter text
    capture_run(loaded, plan, batch, [sink])
    check(family, plan, sink, families.reference(family, batch.tensors))


@pytest.mark.parametrize("name", STREAMED)
def test_compiled_blocks_give_exact_weights_and_the_same_statistics(name: str) -> None:
    family, loaded, (plan, _) = FAMILIES[name], shared(name), by_chosen_route(name)
    assert plan.compiles
    batch, maps = batch_from_tensors(loaded, families.inputs(family)), Collector()
    measured = [Measure(METRICS, per_query=True) for _ in range(2)]
    for sink, compiled in zip(measured, (False, True), strict=True):
        capture_run(loaded, plan, batch, [sink, *([maps] if compiled else [])], compiled=compiled)
    check(family, plan, maps, truth(name))
    plain, compiled_statistics = (sink.result(batch.inputs) for sink in measured)
    for tables in ("heads", "tokens", "keys"):
        for metric, scores in getattr(plain, tables).items():
            of_compiled = getattr(compiled_statistics, tables)[metric].values
            np.testing.assert_allclose(of_compiled, scores.values, rtol=1e-5, atol=1e-5, err_msg=metric)


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt_oss", "modernbert", "t5", "umt5", "deepseek_v3"])
def test_blocks_of_few_rows_give_the_same_numbers(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name_of, value in {"ROWS": 5, "CELLS": {"cpu": 100}}.items():
        monkeypatch.setattr(blocks, name_of, value)
    plan, sink = run(FAMILIES[name])
    assert sink.blocks > len(plan.sites)
    check(FAMILIES[name], plan, sink, truth(name))


# -------------------------------------------------------------------------------------------- refused


def test_a_text_for_which_a_model_attends_differently_is_refused() -> None:
    family = FAMILIES["big_bird"]
    loaded = wrap_model(families.build(family))
    plan = make_plan(loaded, "auto", batch_from_tensors(loaded, families.inputs(family)))
    with pytest.raises(ModelError, match="encoder layer 0") as error:
        capture_run(loaded, plan, batch_from_tensors(loaded, families.inputs(family, (60,))), [Collector()])
    assert error.value.exit_code == 3


@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if family.route == "refuse"])
def test_a_model_without_softmax_attention_is_refused_by_name(name: str) -> None:
    with pytest.raises(ModelError, match=FAMILIES[name].name) as error:
        run(FAMILIES[name])
    assert error.value.exit_code == 3
    assert "attention" in str(error.value)


@pytest.mark.parametrize("name", INLINE)
def test_a_model_that_computes_inline_refuses_to_be_streamed(name: str) -> None:
    with pytest.raises(ModelError, match="cannot be streamed") as error:
        run(FAMILIES[name], "stream")
    assert error.value.exit_code == 3


# ------------------------------------------------------------------------------- padding and precision


@pytest.mark.parametrize(
    ("side", "name"),
    [
        pytest.param(side, name, marks=() if side == usual else pytest.mark.real)
        for name, usual in zip(SERVED, cycle(("left", "right")))
        for side in ("left", "right")
    ],
)
def test_a_padded_text_gives_what_it_gives_alone(name: str, side: str) -> None:
    family = FAMILIES[name]
    loaded = shared(name)
    right = families.inputs(family, (12, 7))
    both = right if side == "right" else {key: _padded_left(key, right) for key in right}
    _, sink = capture(loaded, batch_from_tensors(loaded, both))
    ours, theirs = sink.text(1), alone(name).text(0)
    assert sorted(ours) == sorted(theirs)
    for layer, weights in ours.items():
        np.testing.assert_allclose(weights, theirs[layer], atol=5e-6, rtol=0)


def _padded_left(name: str, tensors: dict[str, torch.Tensor]) -> torch.Tensor:
    masks = tensors["decoder_attention_mask" if name.startswith("decoder_") else "attention_mask"]
    return torch.stack([row.roll(int((mask == 0).sum())) for row, mask in zip(tensors[name], masks, strict=True)])


def _without_padding(tensors: dict[str, torch.Tensor], text: int) -> dict[str, torch.Tensor]:
    lengths = {
        side: int(tensors[f"{side}attention_mask"][text].sum())
        for side in ("", "decoder_")
        if f"{side}input_ids" in tensors
    }
    return {
        name: values[text : text + 1, : lengths["decoder_" if name.startswith("decoder_") else ""]]
        for name, values in tensors.items()
    }


@pytest.mark.parametrize("name", SERVED)
def test_a_bfloat16_model_is_measured_in_float32_or_better(name: str) -> None:
    family = FAMILIES[name]
    model: Any = families.build(family)
    loaded = wrap_model(model.to(torch.bfloat16))
    _, sink = capture(loaded, batch_from_tensors(loaded, families.inputs(family)))
    exact = truth(name)
    for (kind, layer), weights in sink.text(0).items():
        assert weights.sum(-1).max() <= 1.005
        # the mean: rounding may send single tokens to another expert, which then differ
        assert np.abs(weights - exact[kind, layer][0]).mean() < 0.02  # type: ignore[index]


# ------------------------------------------------------------------------------------------ left unchanged


def _state(model: PreTrainedModel) -> Iterator[Any]:
    yield AttentionInterface.get_interface
    yield len(_get_current_function_mode_stack())  # type: ignore[no-untyped-call]
    for name, module in sorted(sys.modules.items()):
        if name.startswith("transformers.models."):
            yield module.__dict__.get("eager_attention_forward")
    for config in {id(c): c for m in model.modules() if (c := getattr(m, "config", None))}.values():
        yield config._attn_implementation, config.output_attentions
    for name, module in model.named_modules():
        yield name, id(module), module.training
        yield len(module._forward_hooks), len(module._forward_pre_hooks)
        yield {key: id(value) for key, value in module._buffers.items()}


@pytest.mark.parametrize("name", SERVED)
def test_a_model_is_unchanged(name: str) -> None:
    model = families.build(FAMILIES[name]).train()
    before = list(_state(model))
    loaded = wrap_model(model)
    capture(loaded, batch_from_tensors(loaded, families.inputs(FAMILIES[name])))
    assert list(_state(model)) == before


@pytest.mark.parametrize("name", ["bert", "bloom", "t5"])
def test_a_model_still_returns_its_own_attention(name: str) -> None:
    family = FAMILIES[name]
    model, tensors = families.build(family, "eager"), families.inputs(family)
    loaded = wrap_model(model)
    capture(loaded, batch_from_tensors(loaded, tensors))
    with torch.no_grad():
        output = model(**tensors, output_attentions=True)
    for kind, layers in family.layers.items():
        assert len(families.named(output, families.OUTPUTS[kind])) == len(layers)


class FailingDisk(Collector):
    """A sink that fails in the middle of a pass."""

    def end_layer(self, kind: str, layer: int) -> None:
        raise OutputError("no space left")


@pytest.mark.parametrize("name", ["bert", "bloom", "big_bird", "llama_dynamic", "t5", "qwen2_vl", "zamba2"])
def test_a_model_is_unchanged_after_an_error(name: str) -> None:
    model = families.build(FAMILIES[name]).train()
    before = list(_state(model))
    loaded = wrap_model(model)
    batch = batch_from_tensors(loaded, families.inputs(FAMILIES[name]))
    plan = make_plan(loaded, "auto", batch)
    with pytest.raises(OutputError, match="no space left"):
        capture_run(loaded, plan, batch, [FailingDisk()])
    assert list(_state(model)) == before


class Broken(Collector):
    """A sink that cannot write."""

    def end_layer(self, kind: Any, layer: int) -> None:
        raise OSError("disk full")


def test_an_error_of_a_sink_is_not_reported_as_one_of_the_model() -> None:
    family = FAMILIES["bert"]
    loaded = wrap_model(families.build(family))
    batch = batch_from_tensors(loaded, families.inputs(family))
    with pytest.raises(OSError, match=r"^disk full$"):
        capture_run(loaded, make_plan(loaded, "auto", batch), batch, [Broken()])
