"""The combined map of a layer and its baselines: over any split of the stream, and in order."""

from __future__ import annotations

from dataclasses import replace

import made_rows
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from attncli.data import Kind
from attncli.stream import KeepMaps
from attncli.studies.flow import layer_steps
from attncli.studies.flow.layer_steps import (
    LayerSteps,
    cross_attention_step,
    mean_by_offset,
    normalized_rows,
    self_attention_step,
    stacking_order,
    variant_maps,
)

Received = list[tuple[int, Kind, int, tuple[np.ndarray, ...]]]


def combined(blocks: list[object], layers: list[tuple[Kind, int]], ends: list[tuple[Kind, int]], how: str) -> Received:
    received: Received = []
    heads = dict.fromkeys(layers, tuple(range(5)))
    sink = LayerSteps(heads, lambda *arguments: received.append(arguments), aggregate=how)  # type: ignore[arg-type]
    for block in blocks:
        sink.add(block)  # type: ignore[arg-type]
    for end in ends:
        sink.end_layer(*end)
    return received


@pytest.mark.parametrize("how", ["mean", "max"])
@pytest.mark.parametrize("rule", ["all", "causal", "blind"])
def test_the_map_of_a_layer_combines_its_heads_for_any_split_into_blocks(how: str, rule: str) -> None:
    one = made_rows.random_map(3, heads=5, n=7, m=7, rule=rule)
    whole = made_rows.block([one, one], "decoder", texts=[4, 9], padding=(2, 3), left=True)
    parts = [
        made_rows.part(whole, first, last, heads)
        for first, last in ((6, 9), (0, 3), (3, 6))
        for heads in ([0, 1, 2], [3, 4])
    ]
    heads = np.where(one.visible.numpy(), one.weights.double().numpy(), 0)
    expected = heads.mean(0) if how == "mean" else heads.max(0)
    for blocks in ([whole], parts):
        received = combined(blocks, [("decoder", 0)], [("decoder", 0)], how)
        assert [text for text, *_ in received] == [4, 9]
        for _, _, _, maps in received:
            assert maps[0].dtype == np.float64
            # up to four heads are summed in float32
            assert_allclose(maps[0], expected, rtol=4e-7, atol=1e-15 if how == "mean" else 0)


def test_layers_are_passed_on_in_stacking_order() -> None:
    one = made_rows.random_map(0, 2, 3, 3)
    layers: list[tuple[Kind, int]] = [("cross", 0), ("decoder", 1), ("encoder", 0), ("decoder", 0), ("cross", 1)]
    blocks = [made_rows.block([one], kind, layer=layer) for kind, layer in layers]
    received = combined(blocks, layers, layers, "mean")  # type: ignore[arg-type]
    assert [entry[1:3] for entry in received] == stacking_order(layers)
    assert received[0][1:3] == ("encoder", 0)


def test_layers_that_were_passed_on_are_not_kept() -> None:
    sink = LayerSteps({("encoder", layer): (0, 1) for layer in range(3)}, lambda *arguments: None)
    for layer in range(3):
        sink.add(made_rows.block([made_rows.random_map(layer, 2, 4, 4)], layer=layer))
        sink.end_layer("encoder", layer)
        assert not sink._waiting
        assert not sink._open
    assert isinstance(sink, KeepMaps)
    assert sink.result(()) == ()


def test_uniform_rows_are_over_visible_keys() -> None:
    visible = np.tri(3, dtype=bool)
    _, uniform, _ = variant_maps("decoder", np.where(visible, 0.5, 0), visible)
    assert_allclose(uniform, [[1, 0, 0], [1 / 2, 1 / 2, 0], [1 / 3, 1 / 3, 1 / 3]])


def test_mean_by_offset_is_the_mean_of_each_diagonal() -> None:
    weights = made_rows.random_map(1, 1, 6, 6, "causal").weights[0].double().numpy()
    visible = np.tri(6, dtype=bool)
    mean = np.zeros((6, 6))
    for i in range(6):
        for j in range(i + 1):
            mean[i, j] = np.mean([weights[k, k + j - i] for k in range(6) if k + j - i >= 0])
    assert_allclose(mean_by_offset(weights, visible), mean / mean.sum(1, keepdims=True), atol=1e-15)


@pytest.mark.parametrize("shape", [(9, 9), (7, 12), (12, 7), (1, 3)])
def test_offset_sums_are_those_of_diagonals(shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer_steps, "ROWS", 4)
    values = np.random.default_rng(0).random(shape)
    expected = [values.diagonal(offset).sum() for offset in range(1 - shape[0], shape[1])]
    assert_allclose(layer_steps.offset_sums(values), expected, rtol=1e-14)


def test_a_map_that_depends_on_offset_only_equals_its_baseline() -> None:
    uniform = np.full((4, 4), 0.25)
    assert_allclose(mean_by_offset(uniform, np.ones((4, 4), bool)), uniform)
    back = normalized_rows(np.eye(6, k=-1) + 0.5 * np.eye(6))
    # the first token sees only itself, with the same weight as the others
    back[0] = back[1:].diagonal(1)[0] * np.eye(6)[0]
    assert_allclose(mean_by_offset(back, back > 0)[1:], back[1:], atol=1e-15)


def test_steps_sum_to_one_and_a_row_without_keys_keeps_its_own_token() -> None:
    weights = np.array([[0.2, 0.3], [0.0, 0.0]])
    assert_allclose(self_attention_step(weights, True), [[1.2 / 1.5, 0.3 / 1.5], [0, 1]])
    assert_allclose(self_attention_step(weights, False), [[0.4, 0.6], [0, 0]])
    kept, shares = cross_attention_step(weights, True)
    assert_allclose(kept, [1 / 1.5, 1])
    assert_allclose(shares, [[0.2 / 1.5, 0.3 / 1.5], [0, 0]])
    assert_allclose(cross_attention_step(weights, False)[0], 0)


def test_rows_without_visible_keys_do_not_count() -> None:
    one = made_rows.random_map(5, 3, 6, 6, "blind")
    blind = replace(one, visible=one.visible & (torch.arange(6) != 3)[:, None])
    ((*_, maps),) = combined([made_rows.block([blind], "decoder")], [("decoder", 0)], [("decoder", 0)], "mean")
    assert not maps[0][3].any()
    assert not maps[1][3].any()
    assert_allclose(np.delete(maps[0], 3, 0), np.delete(one.weights.double().numpy().mean(0), 3, 0), atol=1e-15)
