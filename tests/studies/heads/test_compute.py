"""Distances between heads from the stream: any cut into blocks, several texts and layers, and baselines."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made_rows import Map, block, by_hand, inputs, part, random_map, with_visible
from naive_distances import naive_distances
from stream.test_position_baseline import naive_positional

from attncli.errors import UsageError
from attncli.studies.heads.compute import DistancesSink, HeadsSink
from attncli.studies.heads.options import HeadsOptions
from attncli.studies.heads.result import HeadsResult


def streamed(layers: list[list[Map]], cut: int, padding: int = 0, sink: Any = None) -> Any:
    """Return a sink that has seen the maps of all layers, some rows of one head at a time."""
    heads = {("encoder", layer): tuple(range(len(maps[0].weights))) for layer, maps in enumerate(layers)}
    sink = HeadsSink(inputs(layers[0]), heads) if sink is None else sink(inputs(layers[0]), heads)  # type: ignore[arg-type]
    for layer, maps in enumerate(layers):
        whole = block(maps, layer=layer, padding=(padding, padding))
        rows = whole.weights.shape[2]
        for head in range(len(maps[0].weights)):
            for at in range(0, rows, cut):
                sink.add(part(whole, at, min(at + cut, rows), [head]))
        sink.end_layer("encoder", layer)
    return sink


def heads_of(layers: list[list[Map]], text: int) -> Any:
    return torch.cat([maps[text].weights for maps in layers]).double().numpy()


@settings(max_examples=20)
@given(
    st.integers(0, 10**6), st.sampled_from(["all", "causal", "sliding", "blind"]), st.integers(1, 9), st.integers(0, 2)
)
def test_distances_do_not_depend_on_how_the_stream_is_cut(seed: int, rule: str, cut: int, padding: int) -> None:
    sizes = (4, 6)
    layers = [[random_map(seed + at + 7 * n, heads, n, n, rule) for n in sizes] for at, heads in enumerate((2, 3))]
    result: HeadsResult = streamed(layers, cut, padding).result(HeadsOptions())
    group = result.groups["encoder"]
    each = [heads_of(layers, text) for text in range(2)]
    assert group.distances == pytest.approx(np.mean([naive_distances(heads) for heads in each], axis=0), abs=1e-6)
    by_position = []
    for text, heads in enumerate(each):
        visible = layers[0][text].visible.numpy()
        by_position.append(naive_distances([naive_positional(head, visible) for head in heads]))
    assert group.baselines["positional"] == pytest.approx(np.mean(by_position, axis=0), abs=1e-5)
    assert set(group.baselines) == {"positional"}
    assert (result.texts, result.rows) == (2, sum(sizes))


def test_the_position_baseline_equals_the_distance_only_for_positional_heads() -> None:
    visible = torch.ones(5, 5, dtype=torch.bool)
    own_token_and_uniform = Map(
        torch.stack([torch.eye(5), torch.full((5, 5), 0.2)]), visible, torch.zeros(5, dtype=torch.bool)
    )
    positional = streamed([[own_token_and_uniform]], 5).result(HeadsOptions()).groups["encoder"]
    assert positional.baselines["positional"] == pytest.approx(positional.distances)
    assert positional.to_even[1] == 0
    random = streamed([[random_map(3, 4, 40, 40)]], 40).result(HeadsOptions()).groups["encoder"]
    assert random.medians["distance_positional"] < 0.6 * random.medians["distance"]


def test_shuffled_tokens_are_a_baseline_of_each_head() -> None:
    layers = [[random_map(at, 2, 5, 5)] for at in range(2)]
    other = [[random_map(at + 9, 2, 5, 5)] for at in range(2)]
    shuffled = streamed(other, 5, sink=DistancesSink)
    result = streamed(layers, 5).result(HeadsOptions(), None, shuffled, {})
    expected = naive_distances(heads_of(other, 0))
    assert result.groups["encoder"].baselines["shuffled"] == pytest.approx(expected, abs=1e-6)
    table = result.to_frame()
    nearest = result.groups["encoder"].nearest
    assert table.nearest_distance_shuffled.to_numpy() == pytest.approx(expected[np.arange(4), nearest], abs=1e-6)
    expected_rows = streamed(other, 5).result(HeadsOptions()).layers["rows_to_mean"].values
    assert result.layers["rows_to_mean_shuffled"].values == pytest.approx(expected_rows)
    assert np.isnan(result.layers["cosine_shuffled"].values).all()


def test_heads_with_gaps_in_their_visible_keys_have_no_position_baseline() -> None:
    one = random_map(0, 2, 6, 6)
    rows = with_visible(block([one]), torch.rand(1, 1, 6, 6, generator=torch.Generator().manual_seed(0)) < 0.6)
    sink = HeadsSink(inputs([one]), {("encoder", 0): (0, 1)})
    sink.add(rows)
    sink.end_layer("encoder", 0)
    result = sink.result(HeadsOptions())
    assert np.isnan(result.groups["encoder"].baselines["positional"]).all()
    assert np.isnan(result.layers["rows_to_mean_positional"].values).all()
    assert np.isfinite(result.to_frame().nearest_distance).all()


def test_heads_on_a_single_token_have_distance_0() -> None:
    one = Map(torch.ones(3, 1, 1), torch.ones(1, 1, dtype=torch.bool), torch.zeros(1, dtype=torch.bool))
    result = streamed([[one]], 1).result(HeadsOptions())
    assert result.groups["encoder"].distances.tolist() == np.zeros((3, 3)).tolist()
    assert set(result.groups["encoder"].clusters.tolist()) == {1}
    assert len(result.redundant_pairs()["distance"]) == 3


def test_a_single_head_has_no_nearest_head() -> None:
    result = streamed([[by_hand([[0.5, 0.5], [1, 0]])]], 2).result(HeadsOptions())
    (row,) = result.to_frame().to_dict("records")
    assert row["nearest"] is None
    assert np.isnan(row["nearest_distance"])
    assert len(result.pairs_frame()) == 0


def test_redundant_pairs_are_those_under_the_threshold() -> None:
    layers = [[random_map(1, 4, 6, 6)]]
    distances = np.sort(naive_distances(heads_of(layers, 0))[np.triu_indices(4, 1)])
    result = streamed(layers, 6).result(HeadsOptions(redundant=float(distances[2] + 1e-4)))
    assert result.redundant_pairs()["distance"] == pytest.approx(distances[:3], abs=1e-6)


def test_a_result_without_maps_is_an_error() -> None:
    with pytest.raises(UsageError, match="nothing to compare"):
        HeadsSink((), {}).result(HeadsOptions())
