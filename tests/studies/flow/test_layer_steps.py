"""The heads of a layer as one map: over any split of the stream, in order, with baselines that are what they say."""

from __future__ import annotations

from dataclasses import replace

import made_rows
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from attncli.data import Kind
from attncli.stream import KeepMaps
from attncli.studies.flow.layer_steps import (
    LayerSteps,
    cross_attention_step,
    mean_by_offset,
    normalized_rows,
    self_attention_step,
    stacking_order,
    variant_maps,
)

Taken = list[tuple[int, Kind, int, tuple[np.ndarray, ...]]]


def combined(blocks: list[object], places: list[tuple[Kind, int]], ends: list[tuple[Kind, int]], how: str) -> Taken:
    taken: Taken = []
    sink = LayerSteps(places, lambda *each: taken.append(each), aggregate=how)  # type: ignore[arg-type]
    for block in blocks:
        sink.add(block)  # type: ignore[arg-type]
    for end in ends:
        sink.end_layer(*end)
    return taken


@pytest.mark.parametrize("how", ["mean", "max"])
@pytest.mark.parametrize("rule", ["all", "causal", "blind"])
def test_the_map_of_a_layer_is_that_of_its_heads_whatever_the_blocks(how: str, rule: str) -> None:
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
        taken = combined(blocks, [("decoder", 0)], [("decoder", 0)], how)
        assert [each[0] for each in taken] == [4, 9]
        for _, _, _, maps in taken:
            assert maps[0].dtype == np.float64
            assert_allclose(maps[0], expected, atol=1e-15 if how == "mean" else 0)


def test_layers_are_handed_on_in_the_order_in_which_they_stand() -> None:
    one = made_rows.random_map(0, 2, 3, 3)
    came: list[tuple[Kind, int]] = [("cross", 0), ("decoder", 1), ("encoder", 0), ("decoder", 0), ("cross", 1)]
    blocks = [made_rows.block([one], kind, layer=layer) for kind, layer in came]
    taken = combined(blocks, came, came, "mean")  # type: ignore[arg-type]
    assert [each[1:3] for each in taken] == stacking_order(came)
    assert taken[0][1:3] == ("encoder", 0)


def test_nothing_is_kept_of_layers_that_were_handed_on() -> None:
    sink = LayerSteps([("encoder", layer) for layer in range(3)], lambda *each: None)
    for layer in range(3):
        sink.add(made_rows.block([made_rows.random_map(layer, 2, 4, 4)], layer=layer))
        sink.end_layer("encoder", layer)
        assert not sink._waiting
        assert not sink._open
    assert isinstance(sink, KeepMaps)
    assert sink.result(()) == ()


def test_even_rows_are_over_what_is_visible() -> None:
    visible = np.tri(3, dtype=bool)
    _, even, _ = variant_maps("decoder", np.where(visible, 0.5, 0), visible)
    assert_allclose(even, [[1, 0, 0], [1 / 2, 1 / 2, 0], [1 / 3, 1 / 3, 1 / 3]])


def test_by_distance_is_the_mean_of_each_diagonal() -> None:
    weights = made_rows.random_map(1, 1, 6, 6, "causal").weights[0].double().numpy()
    visible = np.tri(6, dtype=bool)
    mean = np.zeros((6, 6))
    for i in range(6):
        for j in range(i + 1):
            mean[i, j] = np.mean([weights[k, k + j - i] for k in range(6) if k + j - i >= 0])
    assert_allclose(mean_by_offset(weights, visible), mean / mean.sum(1, keepdims=True), atol=1e-15)


def test_a_map_that_knows_only_distance_is_its_own_baseline() -> None:
    even = np.full((4, 4), 0.25)
    assert_allclose(mean_by_offset(even, np.ones((4, 4), bool)), even)
    back = normalized_rows(np.eye(6, k=-1) + 0.5 * np.eye(6))
    back[0] = back[1:].diagonal(1)[0] * np.eye(6)[0]  # the first token sees itself alone, as much as the others do
    assert_allclose(mean_by_offset(back, back > 0)[1:], back[1:], atol=1e-15)


def test_steps_sum_to_one_and_a_row_that_sees_nothing_stays_itself() -> None:
    weights = np.array([[0.2, 0.3], [0.0, 0.0]])
    assert_allclose(self_attention_step(weights, True), [[1.2 / 1.5, 0.3 / 1.5], [0, 1]])
    assert_allclose(self_attention_step(weights, False), [[0.4, 0.6], [0, 0]])
    own, given = cross_attention_step(weights, True)
    assert_allclose(own, [1 / 1.5, 1])
    assert_allclose(given, [[0.2 / 1.5, 0.3 / 1.5], [0, 0]])
    assert_allclose(cross_attention_step(weights, False)[0], 0)


def test_rows_of_heads_that_see_nothing_do_not_count() -> None:
    one = made_rows.random_map(5, 3, 6, 6, "blind")
    blind = replace(one, visible=one.visible & (torch.arange(6) != 3)[:, None])
    ((*_, maps),) = combined([made_rows.block([blind], "decoder")], [("decoder", 0)], [("decoder", 0)], "mean")
    assert not maps[0][3].any()
    assert not maps[1][3].any()
    assert_allclose(np.delete(maps[0], 3, 0), np.delete(one.weights.double().numpy().mean(0), 3, 0), atol=1e-15)
