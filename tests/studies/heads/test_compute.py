"""Heads compared while they stream by: any cut of the stream, texts, layers, and what position alone makes of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from made_rows import Map, block, by_hand, inputs, part, random_map, with_visible
from naive_distances import naive_distances
from stream.test_position_baseline import naive_positional

from attncli.errors import UsageError
from attncli.studies.heads.compute import DistancesSink, HeadsSink
from attncli.studies.heads.options import HeadsOptions
from attncli.studies.heads.result import HeadsResult


def streamed(layers: list[list[Map]], cut: int, padding: int = 0, sink: Any = None) -> Any:
    """Each layer's maps of all texts, some rows of one head at a time."""
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


@given(
    st.integers(0, 10**6), st.sampled_from(["all", "causal", "sliding", "blind"]), st.integers(1, 9), st.integers(0, 2)
)
def test_all_heads_of_all_layers_are_compared_however_the_stream_is_cut(
    seed: int, rule: str, cut: int, padding: int
) -> None:
    sizes = (6, 9)
    layers = [[random_map(seed + at + 7 * n, heads, n, n, rule) for n in sizes] for at, heads in enumerate((2, 3))]
    found: HeadsResult = streamed(layers, cut, padding).result(HeadsOptions())
    group = found.groups["encoder"]
    each = [heads_of(layers, text) for text in range(2)]
    assert group.distances == pytest.approx(np.mean([naive_distances(heads) for heads in each], axis=0), abs=1e-6)
    by_place = []
    for text, heads in enumerate(each):
        visible = layers[0][text].visible.numpy()
        by_place.append(naive_distances([naive_positional(head, visible) for head in heads]))
    assert group.baselines["positional"] == pytest.approx(np.mean(by_place, axis=0), abs=1e-5)
    assert set(group.baselines) == {"positional"}
    assert (found.texts, found.rows) == (2, sum(sizes))


def test_heads_of_places_are_as_far_apart_by_position_and_heads_of_words_are_closer() -> None:
    seen = torch.ones(5, 5, dtype=torch.bool)
    own_and_even = Map(torch.stack([torch.eye(5), torch.full((5, 5), 0.2)]), seen, torch.zeros(5, dtype=torch.bool))
    of_places = streamed([[own_and_even]], 5).result(HeadsOptions()).groups["encoder"]
    assert of_places.baselines["positional"] == pytest.approx(of_places.distances)
    assert of_places.to_even[1] == 0
    of_words = streamed([[random_map(3, 4, 40, 40)]], 40).result(HeadsOptions()).groups["encoder"]
    assert of_words.medians["distance_positional"] < 0.6 * of_words.medians["distance"]


def test_shuffled_tokens_stand_beside_head_by_head() -> None:
    layers = [[random_map(at, 2, 5, 5)] for at in range(2)]
    other = [[random_map(at + 9, 2, 5, 5)] for at in range(2)]
    shuffled = streamed(other, 5, sink=DistancesSink)
    found = streamed(layers, 5).result(HeadsOptions(), None, shuffled)
    expected = naive_distances(heads_of(other, 0))
    assert found.groups["encoder"].baselines["shuffled"] == pytest.approx(expected, abs=1e-6)
    table = found.to_frame()
    nearest = found.groups["encoder"].nearest
    assert table.nearest_distance_shuffled.to_numpy() == pytest.approx(expected[np.arange(4), nearest], abs=1e-6)
    beside = streamed(other, 5).result(HeadsOptions()).layers["rows_to_mean"].values
    assert found.layers["rows_to_mean_shuffled"].values == pytest.approx(beside)
    assert np.isnan(found.layers["cosine_shuffled"].values).all()


def test_heads_that_see_keys_with_gaps_have_no_baseline_by_position() -> None:
    one = random_map(0, 2, 6, 6)
    rows = with_visible(block([one]), torch.rand(1, 1, 6, 6, generator=torch.Generator().manual_seed(0)) < 0.6)
    sink = HeadsSink(inputs([one]), {("encoder", 0): (0, 1)})
    sink.add(rows)
    sink.end_layer("encoder", 0)
    found = sink.result(HeadsOptions())
    assert np.isnan(found.groups["encoder"].baselines["positional"]).all()
    assert np.isnan(found.layers["rows_to_mean_positional"].values).all()
    assert np.isfinite(found.to_frame().nearest_distance).all()


def test_a_single_token_leaves_nothing_to_tell_apart() -> None:
    one = Map(torch.ones(3, 1, 1), torch.ones(1, 1, dtype=torch.bool), torch.zeros(1, dtype=torch.bool))
    found = streamed([[one]], 1).result(HeadsOptions())
    assert found.groups["encoder"].distances.tolist() == np.zeros((3, 3)).tolist()
    assert set(found.groups["encoder"].clusters.tolist()) == {1}
    assert len(found.redundant_pairs()["distance"]) == 3


def test_a_single_head_has_no_neighbour() -> None:
    found = streamed([[by_hand([[0.5, 0.5], [1, 0]])]], 2).result(HeadsOptions())
    (row,) = found.to_frame().to_dict("records")
    assert row["nearest"] is None
    assert np.isnan(row["nearest_distance"])
    assert len(found.pairs_frame()) == 0


def test_redundant_pairs_are_those_under_the_threshold() -> None:
    layers = [[random_map(1, 4, 6, 6)]]
    distances = np.sort(naive_distances(heads_of(layers, 0))[np.triu_indices(4, 1)])
    found = streamed(layers, 6).result(HeadsOptions(redundant=float(distances[2] + 1e-4)))
    assert found.redundant_pairs()["distance"] == pytest.approx(distances[:3], abs=1e-6)


def test_nothing_to_compare_is_said() -> None:
    with pytest.raises(UsageError, match="nothing to compare"):
        HeadsSink((), {}).result(HeadsOptions())
