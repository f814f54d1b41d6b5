"""Pictures of heads: the map, the dendrogram, the distances next to their baselines, the layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hostile import HOSTILE
from matplotlib.patches import Circle
from pictures import faults, words
from scipy.spatial.distance import pdist

from attncli.data import Array, Kind, Scores
from attncli.plotting.render import render
from attncli.studies.heads.compute import cluster_heads
from attncli.studies.heads.figures import draw_dendrogram, draw_distances, draw_layers, draw_map
from attncli.studies.heads.options import HeadsOptions
from attncli.studies.heads.result import LARGEST_DISTANCE, HeadClusters, HeadsResult

GROUPING = HeadsOptions(threshold=0.3, redundant=0.05)
MEASURES = {
    "rows_to_mean": ("uniform", "positional", "shuffled"),
    "cosine": ("input", "shuffled"),
    "rank_one_distance": ("input", "shuffled"),
}


def between(count: int, seed: int = 0) -> Array:
    points = np.random.default_rng(seed).random((count, 4)) * 0.4
    distances: Array = np.linalg.norm(points[:, None] - points[None], axis=-1)
    return distances


def made(layers: int, heads: int, baselines: Mapping[str, Array] | None = None) -> HeadClusters:
    count = layers * heads
    layer_numbers, head_numbers = np.repeat(np.arange(layers), heads), np.tile(np.arange(heads), layers)
    matrices = {"positional": between(count, 1), "shuffled": between(count, 2)} if baselines is None else baselines
    to_even = np.linspace(0, 0.8, count)
    return cluster_heads(layer_numbers, head_numbers, between(count), to_even, matrices, GROUPING)


def heads_result(kinds: Mapping[Kind, int], states: bool = True, **changed: Any) -> HeadsResult:
    rows = [(kind, layer) for kind, layers in kinds.items() for layer in range(layers)]
    coords = {
        "kind": ("layer", np.array([kind for kind, _ in rows], dtype=object)),
        "layer": ("layer", np.array([layer for _, layer in rows])),
        "heads": ("layer", np.full(len(rows), 2)),
    }
    values = np.random.default_rng(0).random(len(rows)) * 0.6
    found = {}
    for name, beside in MEASURES.items():
        known = values if states or name == "rows_to_mean" else np.full(len(rows), np.nan)
        for each in (name, *(f"{name}_{word}" for word in beside)):
            ends = (0.0, np.log(2)) if name == "rows_to_mean" else (0.0, 1.0)
            found[each] = Scores(each, changed.get(each, known), ("layer",), coords, "1", ends, "")
    groups = {kind: made(layers, 2) for kind, layers in kinds.items()}
    return HeadsResult(groups, found, GROUPING, 1, 10)


@pytest.mark.parametrize(("layers", "heads"), [(1, 1), (1, 2), (4, 4), pytest.param(12, 12, marks=pytest.mark.real)])
def test_pictures_of_any_number_of_heads_are_complete(layers: int, heads: int) -> None:
    group = made(layers, heads)
    assert not faults(draw_dendrogram(group, "encoder", GROUPING, model="m", note="n"))
    assert not faults(draw_distances(group, "encoder", model="m", note="n"))
    assert not faults(draw_map(group, "encoder", model="m"))


def test_the_map_has_a_point_and_a_name_for_each_head_and_numbers_for_clusters() -> None:
    group = made(2, 2)  # far enough apart for exact places
    figure = draw_map(group, "decoder", model="m")
    points = [patch for patch in figure.axes[0].patches if isinstance(patch, Circle)]
    centres = np.array([point.center for point in points])
    drawn, wanted = (np.linalg.norm(each[:, None] - each[None], axis=-1) for each in (centres, group.points))
    np.testing.assert_allclose(drawn / drawn.max(), wanted / wanted.max(), atol=1e-9)
    shared = {str(number) for number in group.clusters.tolist() if (group.clusters == number).sum() > 1}
    assert {*group.names, *shared} <= words(figure)
    assert any(f"stress {group.stress:.2f}" in word for word in words(figure))
    assert any("by a distance of at most 0; heads.csv" in word for word in words(figure))


def test_heads_at_the_same_place_have_discs_side_by_side() -> None:
    group = replace(made(3, 4), points=np.zeros((12, 2)))
    figure = draw_map(group, "decoder")
    discs = [patch for patch in figure.axes[0].patches if isinstance(patch, Circle) and patch.get_zorder() == 3]
    assert len(discs) == 12
    assert pdist([disc.center for disc in discs]).min() >= 2 * discs[0].radius
    assert not faults(figure)


def test_branches_join_where_the_tree_says() -> None:
    group = made(2, 4)
    figure = draw_dendrogram(group, "encoder", GROUPING)
    forks = sorted(line.get_xdata()[1] for line in figure.axes[0].lines if len(line.get_xdata()) == 4)  # type: ignore[arg-type, index]
    assert forks == pytest.approx(sorted(group.tree[:, 2]))
    assert {"redundant pairs: under 0.05", f"median of all pairs: {group.medians['distance']:.2f}"} <= words(figure)


def test_distances_are_in_the_order_of_the_dendrogram_next_to_their_baselines() -> None:
    group = made(2, 4)
    figure = draw_distances(group, "encoder")
    images = [np.ma.asarray(axes.images[0].get_array()) for axes in figure.axes if axes.images]
    order = list(group.order)
    for image, matrix in zip((images[0], *images[2:]), group.matrices.values(), strict=True):
        np.testing.assert_allclose(image, matrix[np.ix_(order, order)])
    np.testing.assert_allclose(images[1][:, 0], group.to_even[order])
    assert {axes.images[0].get_clim() for axes in figure.axes if axes.images} == {(0, LARGEST_DISTANCE)}
    assert {"on the text", "position alone", "tokens shuffled", "uniform attention"} <= words(figure)


def test_undefined_distances_are_hatched_with_a_legend() -> None:
    group = made(2, 4)
    assert "undefined" not in words(draw_distances(group, "encoder"))
    shuffled = np.array(group.baselines["shuffled"])
    shuffled[0, 3] = shuffled[3, 0] = np.nan
    figure = draw_distances(replace(group, baselines={**group.baselines, "shuffled": shuffled}), "encoder")
    assert "undefined" in words(figure)
    assert [bool(axes.patch.get_hatch()) for axes in figure.axes[:4]] == [False, False, False, True]
    assert not faults(figure)


def test_a_missing_baseline_has_no_panel() -> None:
    none = np.full((8, 8), np.nan)
    found = words(draw_distances(made(2, 4, {"positional": none}), "encoder"))
    assert not {"position alone", "tokens shuffled"} & found
    assert not faults(draw_distances(made(2, 4, {}), "encoder"))


def test_measures_of_layers_are_lines_with_their_baselines() -> None:
    found = heads_result({"encoder": 6}, cosine=np.array([-0.1, 0, 0.1, 0.2, 0.3, 0.4]))
    figure = draw_layers(found, model="m")
    assert not faults(figure)
    lines = {line.get_label(): line.get_ydata() for line in figure.axes[1].lines}
    np.testing.assert_allclose(lines["layer"], found.layers["cosine"].values)  # type: ignore[arg-type]
    assert set(lines) == {"layer", "input of layer 0", "tokens shuffled"}
    assert figure.axes[1].get_ylim()[0] < -0.1
    assert {line.get_label() for line in figure.axes[0].lines} == {
        "layer",
        "uniform attention",
        "position alone",
        "tokens shuffled",
    }


@pytest.mark.parametrize("kinds", [{"encoder": 1}, {"encoder": 3, "decoder": 2, "cross": 2}, {"decoder": 32}])
def test_pictures_of_all_kinds_are_complete(kinds: Mapping[Kind, int]) -> None:
    assert not faults(draw_layers(heads_result(kinds), model="m", note="mean over 3 texts"))


def test_without_hidden_states_there_is_one_panel() -> None:
    assert len(draw_layers(heads_result({"encoder": 3}, states=False)).axes) == 1


def test_hostile_names() -> None:
    group, layers = made(1, 3), heads_result({"encoder": 2})
    for start in range(0, len(HOSTILE), 12):
        look: dict[str, Any] = {
            "model": "".join(HOSTILE[start : start + 6]),
            "note": "".join(HOSTILE[start + 6 : start + 12]),
        }
        draws = (
            lambda look=look: draw_dendrogram(group, "encoder", GROUPING, **look),
            lambda look=look: draw_map(group, "encoder", **look),
            lambda look=look: draw_distances(group, "cross", **look),
            lambda look=look: draw_layers(layers, **look),
        )
        assert render(draws[start // 12 % len(draws)](), "svg")
