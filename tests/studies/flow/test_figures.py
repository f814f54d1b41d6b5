"""The graph of layers and the matrix of a flow: they draw the numbers, whatever the tokens contain."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hostile import HOSTILE
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from numpy.testing import assert_allclose
from pictures import faults, shown, tokens, weights_image, words

from attncli.data import Kind, Tokens
from attncli.errors import UsageError
from attncli.plotting.render import render
from attncli.studies.flow import figures as view
from attncli.studies.flow.layer_steps import GraphBuilder
from attncli.studies.flow.result import Flow, Graph


def flow_of(
    side: Tokens, layers: int = 3, rows: list[int] | None = None, *, causal: bool = False, drawn: bool = True
) -> Flow:
    n = len(side)
    rng = np.random.default_rng(0)
    steps = GraphBuilder(True)
    for layer in range(layers):
        weights = rng.dirichlet(np.full(n, 0.2), n)
        steps.add("encoder", layer, np.tril(weights) if causal else weights)
    at = np.arange(n) if rows is None else np.array(rows)
    values = rng.dirichlet(np.ones(n), n)[at]
    uniform = np.tri(n)[at] / (at + 1)[:, None] if causal else np.full((len(at), n), 1 / n)
    values = values * (uniform > 0)
    graph = replace(steps.graph("encoder"), tokens={"encoder": side}) if drawn else None
    return Flow("rollout", "encoder", 0, side, side, at, values, uniform, uniform, tuple(range(layers)), steps=graph)


def across(kind: Kind, source: Tokens, target: Tokens, rows: list[int]) -> Flow:
    rng = np.random.default_rng(1)
    steps, n, m = GraphBuilder(True), len(target), len(source)
    for layer in range(2):
        steps.add("encoder", layer, rng.dirichlet(np.full(m, 0.3), m))
    for layer in range(2):
        steps.add("decoder", layer, np.tril(rng.dirichlet(np.full(n, 0.3), n)))
        steps.add("cross", layer, rng.dirichlet(np.full(m, 0.3), n))
    values = rng.dirichlet(np.ones(m if kind == "cross" else n), n)[rows]
    keys = source if kind == "cross" else target
    none = np.full(values.shape, np.nan)
    graph = replace(steps.graph("decoder"), tokens={"encoder": source, "decoder": target})
    return Flow("rollout", kind, 0, target, keys, np.array(rows), values, values, none, (0, 1), steps=graph)


def lines(figure: Figure) -> PathCollection:
    """The lines between tokens, which are curves of four points."""
    collections = (
        artist for artist in figure.axes[0].collections if isinstance(artist, PathCollection) and artist.get_paths()
    )
    return next(
        paths for paths in collections if paths.get_paths() and len(np.asarray(paths.get_paths()[0].vertices)) == 4
    )


def carried(graph: Graph, row: int) -> float:
    """The largest share of a token at the top on any line, by a plain loop."""
    shares = {(len(graph.levels) - 1, row): 1.0}
    widest = 0.0
    for step in reversed(graph.steps):
        for (level, token), share in list(shares.items()):
            if level == step.upper:
                for below, weight in enumerate(step.weights[token]):
                    widest = max(widest, share * weight)
                    shares[step.lower, below] = shares.get((step.lower, below), 0.0) + share * weight
    return widest


@pytest.mark.parametrize(("count", "causal"), [(1, True), (2, False), (14, True), (14, False), (40, False), (90, True)])
def test_the_graph_is_complete_and_no_texts_overlap(count: int, causal: bool) -> None:
    figure = view.draw(flow_of(tokens(count), causal=causal), model="a/model")
    assert not faults(figure)
    assert {"input", "layer 0", "layer 2", "encoder · attention rollout", "a/model"} <= words(figure)


@pytest.mark.parametrize("count", [14, 60])
def test_with_a_focus_inputs_have_their_shares_and_the_focus_is_dark(count: int) -> None:
    flow = flow_of(tokens(count), rows=[9])
    figure = view.draw(flow, focus="it")
    assert not faults(figure)
    texts = words(figure)
    assert "encoder · attention rollout from 'it'" in texts
    assert f"{flow.values.max():.2f}" in texts
    ink = [text.get_color() for text in shown(figure) if text.get_text().startswith("it")]
    assert view.INK in ink
    assert view._PALE in [text.get_color() for text in shown(figure)]


def test_lines_are_as_wide_as_the_flow_along_them() -> None:
    flow = flow_of(tokens(6), rows=[2])
    assert flow.steps is not None
    described = next(line for line in words(view.draw(flow, focus="did")) if line.startswith("line:"))
    assert described == f"line: share of 'did' along it · widest {carried(flow.steps, 2):.2g} · under 0.01 left out"
    all_lines = view._Lines(flow.steps, flow.rows, 1e-9)
    assert all_lines.mass is not None
    assert_allclose([mass.sum() for mass in all_lines.mass], 1)
    assert_allclose([all_lines.weights[all_lines.ends[:, 0] == level].sum() for level in (1, 2, 3)], 1)


def test_weak_lines_are_left_out_as_the_header_says() -> None:
    flow = flow_of(tokens(8))
    assert flow.steps is not None
    strong = sum(int((step.weights >= 0.3).sum()) for step in flow.steps.steps)
    figure = view.draw(flow, threshold=0.3)
    assert len(lines(figure).get_paths()) == strong
    assert any("under 0.3 left out" in line for line in words(figure))
    assert any("no line is that strong" in line for line in words(view.draw(flow, threshold=1.0)))


def test_of_too_many_lines_the_strongest_are_drawn_as_the_header_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view, "_MOST_LINES", 50)
    figure = view.draw(flow_of(tokens(20)), threshold=0.001)
    assert len(lines(figure).get_paths()) == 50
    assert any("only the 50 strongest" in line for line in words(figure))


def test_source_and_target_are_in_one_picture() -> None:
    source, target = tokens(9), tokens(5)
    cross, own = (across(kind, source, target, [3]) for kind in ("cross", "decoder"))
    figure = view.draw(cross, own, focus="not")
    assert not faults(figure)
    texts = words(figure)
    assert {"from the source", "layer 1\ncross", "decoder to encoder · attention rollout from 'not'"} <= texts
    assert f"{cross.values.max():.2f}" in texts
    assert f"{own.values.max():.2f}" in texts


def test_the_matrix_shows_the_values_and_unreachable_cells_are_grey() -> None:
    flow = flow_of(tokens(6), causal=True, rows=[1, 4])
    figure = view.matrix(flow, model="a/model", note="text 0 (of 0-1)")
    assert not faults(figure)
    image = np.ma.asarray(weights_image(figure).get_array())
    assert_allclose(image.filled(0), flow.values, atol=1e-6)
    assert image.mask.tolist() == (flow.uniform == 0).tolist()
    assert {"token at the top", "input token", "encoder · attention rollout"} <= words(figure)
    assert "share of the input token (attention rollout)" in {word.replace("\n", " ") for word in words(figure)}


def test_a_text_too_long_for_the_graph_is_one_line() -> None:
    with pytest.raises(UsageError, match="too long to draw its layers: draw the matrix, or give a shorter text"):
        view.draw(flow_of(tokens(5), drawn=False))


@pytest.mark.parametrize("format", ["png", "svg"])
def test_hostile_tokens(format: str) -> None:
    one, other = (flow_of(Tokens.plain(part), layers=1, rows=[0, 3]) for part in (HOSTILE[:40], HOSTILE[40:]))
    if format == "svg":  # each half in each picture
        one, other = other, one
    for figure in (view.draw(one, focus="$\\foo$ [/INST]", model="$a$"), view.matrix(other)):
        assert not any(text.get_parse_math() for text in shown(figure) if "$" in text.get_text())
        assert render(figure, format)


def test_a_picture_is_the_same_each_time() -> None:
    first, second = (render(view.draw(flow_of(tokens(7), rows=[2]), focus="did"), "svg") for _ in range(2))
    assert first == second


def test_long_words_are_not_cut_beside_free_space() -> None:
    side = Tokens.plain(["the", "Rindfleischetikettierungsgesetz", "x" * 300])
    few, many = view.draw(flow_of(side, layers=2)), view.draw(flow_of(side, layers=30))
    assert "Rindfleischetikettierungsgesetz" in words(few)
    assert few.bbox.width <= 1300
    assert "Rindfleischetikettierungsgesetz" not in words(many)
    assert not faults(few)
