"""Maximum flows against networkx and closed forms, without rounding errors of whole capacities."""

from __future__ import annotations

import sys

import networkx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from attncli.data import Array
from attncli.errors import UsageError
from attncli.studies.flow import maximum_flow as flow
from attncli.studies.flow.layer_steps import GraphBuilder
from attncli.studies.flow.maximum_flow import maximum_flows
from attncli.studies.flow.result import Graph, Stack


def graph_of(maps: Array, residual: bool = True) -> Graph:
    builder = GraphBuilder(residual)
    for layer, weights in enumerate(maps):
        builder.add("encoder", layer, weights)
    return builder.graph("encoder")


def random_maps(seed: int, layers: int, n: int, *, causal: bool = False, sharp: float = 0.3) -> Array:
    maps = np.random.default_rng(seed).dirichlet(np.full(n, sharp), (layers, n))
    if causal:
        maps = np.tril(maps) + 1e-12 * np.tri(n)
        maps /= maps.sum(-1, keepdims=True)
    return maps


def by_networkx(graph: Graph) -> Array:
    network = networkx.DiGraph()
    sizes = graph.sizes()
    network.add_nodes_from((level, token) for level, size in enumerate(sizes) for token in range(size))
    for step in graph.steps:
        for upper, lower in np.argwhere(step.weights > 0).tolist():
            network.add_edge((step.upper, upper), (step.lower, lower), capacity=float(step.weights[upper, lower]))
    top = len(sizes) - 1
    inputs = [(level, token) for level in graph.inputs.values() for token in range(sizes[level])]
    return np.array(
        [[networkx.maximum_flow_value(network, (top, i), end) for end in inputs] for i in range(sizes[top])]
    )


@settings(max_examples=25)
@given(
    st.integers(0, 10**6),
    st.integers(1, 4),
    st.integers(1, 6),
    st.booleans(),
    st.booleans(),
    st.sampled_from([0.05, 0.3, 3]),
)
def test_it_equals_networkx(seed: int, layers: int, n: int, causal: bool, residual: bool, sharp: float) -> None:
    graph = graph_of(random_maps(seed, layers, n, causal=causal, sharp=sharp), residual)
    assert_allclose(maximum_flows(graph, range(n)), by_networkx(graph), atol=1e-8)


@pytest.mark.parametrize("pipes", [1, 300, 10**6])
def test_it_does_not_depend_on_how_many_inputs_are_solved_at_once(pipes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = graph_of(random_maps(1, 4, 8, causal=True, sharp=0.1))
    expected = by_networkx(graph)
    monkeypatch.setattr(flow, "PIPES", pipes)
    assert_allclose(maximum_flows(graph, range(8)), expected, atol=1e-7)


def test_the_flow_of_one_layer_is_its_map() -> None:
    maps = random_maps(0, 1, 5)
    assert_allclose(maximum_flows(graph_of(maps), range(5)), (maps[0] + np.eye(5)) / 2, atol=1e-15)


def test_each_path_through_two_layers_carries_its_smaller_capacity() -> None:
    upper, lower = random_maps(0, 2, 6)
    expected = [[np.minimum(upper[i], lower[:, j]).sum() for j in range(6)] for i in range(6)]
    assert_allclose(maximum_flows(graph_of(np.stack([lower, upper]), residual=False), range(6)), expected, atol=1e-14)


def test_uniform_attention_has_a_closed_form() -> None:
    # 1/8 through each of 3 other tokens at the top and in the layer below, and 1/8 straight to the input
    expected = np.full((4, 4), 7 / 8) + np.eye(4) / 8
    assert_allclose(maximum_flows(graph_of(np.full((3, 4, 4), 0.25)), range(4)), expected, atol=1e-15)
    assert_allclose(maximum_flows(graph_of(np.full((9, 4, 4), 0.25)), range(4)), 1, atol=1e-15)


def test_flow_is_at_most_what_leaves_the_top_or_enters_the_input() -> None:
    maps = random_maps(4, 5, 9, sharp=0.1)
    flows = maximum_flows(graph_of(maps), range(9))
    entering = ((maps[0] + np.eye(9)) / 2).sum(0)
    assert (flows <= np.minimum(1, entering) + 1e-12).all()
    assert (flows > 0).any()


def test_a_capacity_too_small_for_whole_numbers_is_exact() -> None:
    narrow = np.array([[1.0, 0.0], [1e-6, 1 - 1e-6]])
    flows = maximum_flows(graph_of(np.stack([narrow] * 2), residual=False), [1])
    assert_allclose(flows[0], [min(1e-6, 1.0) + min(1 - 1e-6, 1e-6), 1 - 1e-6], rtol=1e-12)


def test_only_the_given_rows_are_computed_and_flow_is_0_without_a_path() -> None:
    maps = np.stack([np.eye(4)[[0, 0, 1, 2]]] * 2)
    flows = maximum_flows(graph_of(maps, residual=False), [3, 0])
    assert_allclose(flows, [[0, 1, 0, 0], [1, 0, 0, 0]], atol=1e-15)


@pytest.mark.parametrize("stack", ["encoder", "decoder"])
def test_from_the_target_to_both_inputs(stack: Stack) -> None:
    builder = GraphBuilder(True)
    rng = np.random.default_rng(0)
    for layer in range(2):
        builder.add("encoder", layer, rng.dirichlet(np.full(4, 0.3), 4))
    for layer in range(2):
        builder.add("decoder", layer, random_maps(layer, 1, 3, causal=True)[0])
        builder.add("cross", layer, rng.dirichlet(np.full(4, 0.3), 3))
    graph = builder.graph(stack)
    rows = 4 if stack == "encoder" else 3
    flows = maximum_flows(graph, range(rows))
    assert flows.shape == ((4, 4) if stack == "encoder" else (3, 4 + 3))
    assert_allclose(flows, by_networkx(graph), atol=1e-8)


def test_progress_advances_row_by_row() -> None:
    advances: list[float] = []
    maximum_flows(graph_of(random_maps(0, 2, 5)), [0, 2, 4], advances.append)
    assert advances == [1, 1, 1]


def test_missing_scipy_gives_an_error_with_the_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.sparse.csgraph", None)
    with pytest.raises(UsageError, match=r'^attention flow needs SciPy: pip install "attncli\[analyses\]"$'):
        maximum_flows(graph_of(random_maps(0, 2, 3)), [0])
