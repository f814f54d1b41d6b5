"""`aggregate="weights:FILE"`: every analysis that combines heads gives what a weighted sum written by hand gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import attncli
from attncli import UsageError
from attncli.data import Array

TEXT = "the cat sat on the mat . the cat sat on the"


@pytest.fixture(scope="module")
def decoder() -> attncli.Model:
    return attncli.load("demo:decoder")


@pytest.fixture(scope="module")
def run(decoder: attncli.Model) -> attncli.Run:
    return decoder.run(TEXT, keep_maps=True)


@pytest.fixture(scope="module")
def numbers() -> Array:
    """[layer, head] some below 0."""
    return np.random.default_rng(3).normal(size=(3, 8))


@pytest.fixture(scope="module")
def table(numbers: Array) -> dict[str, Any]:
    layers, heads = np.indices(numbers.shape).reshape(2, -1).tolist()
    return {"kind": ["decoder"] * 24, "layer": layers, "head": heads, "weight": numbers.ravel().tolist()}


@pytest.fixture(scope="module")
def weighted(decoder: attncli.Model, table: dict[str, Any]) -> attncli.Run:
    return decoder.run(TEXT, aggregate=table, keep_maps=True)


@pytest.fixture(scope="module")
def by_hand(run: attncli.Run, numbers: Array) -> tuple[Array, Array]:
    """The maps of the layers, and the map of all heads, in float64."""
    maps, weights = run.attention().stack().astype(np.float64), np.maximum(numbers, 0)
    of_layers = np.einsum("lh,lhqk->lqk", weights / weights.sum(1, keepdims=True), maps)
    return of_layers, np.einsum("lh,lhqk->qk", weights / weights.sum(), maps)


def test_maps_are_the_weighted_sum(
    decoder: attncli.Model, weighted: attncli.Run, table: dict[str, Any], by_hand: tuple[Array, Array]
) -> None:
    of_layers, of_all = by_hand
    np.testing.assert_allclose(weighted.attention().stack()[:, 0], of_layers, atol=1e-6)
    both: dict[str, Any] = {"aggregate": table, "aggregate_layers": "mean"}
    single = decoder.run(TEXT, **both, metrics=["entropy"], keep_maps=True)
    np.testing.assert_allclose(single.attention().values, of_all, atol=1e-6)
    assert single.info.resolved["aggregate"] == "weighted"
    assert len(single.info.resolved["head_weights"]) == 64
    assert any("have a negative number, which counts as 0" in note for note in single.info.notes)
    assert "weighted mean of heads" in str(weighted.attention())
    (row,) = single.stats(["entropy"]).to_frame().to_dict("records")
    assert (row["layer"], row["head"]) == ("mean", "weighted")
    assert row["entropy"] == pytest.approx(entropy(of_all), abs=1e-5)


def entropy(weights: Array) -> float:
    return float(-(weights * np.log(np.where(weights > 0, weights, 1))).sum(-1).mean())


def test_measures_edges_and_the_text_are_of_the_weighted_map(
    decoder: attncli.Model, table: dict[str, Any], by_hand: tuple[Array, Array]
) -> None:
    of_layers, _ = by_hand
    run = decoder.run(TEXT, aggregate=table, metrics=["entropy"], top_k=1)
    rows = run.stats(["entropy"]).to_frame()
    assert rows["head"].tolist() == ["weighted"] * 3
    np.testing.assert_allclose(rows["entropy"], [entropy(weights) for weights in of_layers], atol=1e-5)
    edges = run.edges().to_frame()
    assert set(edges["head"]) == {"weighted"}
    np.testing.assert_allclose(edges["weight"], of_layers.max(-1).ravel(), atol=1e-6)
    page = decoder.highlight(TEXT, "mat", aggregate=table)
    row = list(run.inputs[0].source.pieces).index("Ġm")
    line = page.highlight.lines[0]
    assert line.head == "weighted"
    np.testing.assert_allclose(line.weights, of_layers[0, [row, row + 1]].mean(0), atol=1e-6)


def test_segments_are_sums_of_the_weighted_map(
    decoder: attncli.Model, run: attncli.Run, numbers: Array, table: dict[str, Any]
) -> None:
    weights = np.maximum(numbers, 0)
    spans = {"first": ["on the mat"], "second": [". the cat"]}
    single = run.segments(spans=spans).to_frame().sort_values(["from", "to", "layer", "head"], kind="stable")
    mass = single["mass"].to_numpy().reshape(-1, 3, 8)
    for layers, of_heads in (("none", weights / weights.sum(1, keepdims=True)), ("mean", weights / weights.sum())):
        options: Any = {"aggregate": table, "aggregate_layers": layers}
        found = decoder.segments(TEXT, spans=spans, **options).to_frame()
        found = found.sort_values(["from", "to", "layer"], kind="stable")
        expected = (mass * of_heads).sum(2) if layers == "none" else (mass * of_heads).sum((1, 2))
        np.testing.assert_allclose(found["mass"], expected.ravel(), atol=1e-6, equal_nan=True)
        assert set(found["head"]) == {"weighted"}


def test_rollout_goes_through_the_weighted_maps(
    run: attncli.Run, weighted: attncli.Run, table: dict[str, Any], by_hand: tuple[Array, Array]
) -> None:
    shares = np.eye(len(by_hand[1]))
    for weights in by_hand[0]:
        step = weights + np.eye(len(weights))
        shares = step / step.sum(-1, keepdims=True) @ shares
    for flow in (run.rollout(aggregate=table).flow, weighted.rollout().flow):
        assert flow.aggregate == "weighted"
        np.testing.assert_allclose(flow.values, shares, atol=1e-6)


def test_runs_are_compared_by_their_weighted_maps(weighted: attncli.Run) -> None:
    compared = attncli.compare(weighted, weighted, metrics=["entropy"]).to_frame()
    assert compared["head"].tolist() == ["weighted"] * 3
    np.testing.assert_allclose(compared["js_distance"], 0, atol=1e-3)


def test_saved_maps_stay_weighted(weighted: attncli.Run, tmp_path: Path, table: dict[str, Any]) -> None:
    weighted.save(tmp_path / "saved")
    opened = attncli.open(tmp_path / "saved")
    assert opened.attention().aggregate == "weighted"
    np.testing.assert_array_equal(opened.attention().stack(), weighted.attention().stack())
    assert "weighted mean" in weighted.heatmap(layer=1).texts[0].get_text()
    with pytest.raises(UsageError, match="run the model again"):
        opened.rollout(aggregate=table)
    assert "weighted" in str(opened.rollout().flow.aggregate)


def test_a_result_of_importance_serves(decoder: attncli.Model) -> None:
    result = attncli.load("demo:decoder", head="auto-head").importance("the cat sat", layer=1)
    maps = decoder.run("the cat sat", layer=1, keep_maps=True).attention().stack()[0]
    weights = np.zeros(8)
    weights[result.columns["head"].astype(int)] = np.maximum(result.columns["loss"], 0)
    expected = np.einsum("h,hqk->qk", weights / weights.sum(), maps)
    for given in (result, result.to_frame()):
        found = decoder.run("the cat sat", layer=1, aggregate=given).attention().values
        np.testing.assert_allclose(found, expected, atol=1e-6)
    with pytest.raises(UsageError, match="has no number for decoder heads 0"):
        decoder.run("the cat sat", aggregate=result)
