"""Rollout and flow of real models are those of their maps: streamed, kept, or made elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import networkx
import numpy as np
import pytest
from numpy.testing import assert_allclose

import attncli
from attncli.data import KINDS, Array, Kind
from attncli.engine.execution import Execution
from attncli.engine.request import Request
from attncli.errors import UsageError
from attncli.studies.flow.options import FlowOptions
from attncli.studies.flow.result import Flow
from attncli.studies.flow.study import FlowStudy

ANIMAL = "The animal didn't cross the street because it was too tired."


def one(step: Array) -> Array:
    total = step.sum(-1, keepdims=True)
    return step / np.where(total > 0, total, 1)


def by_hand(run: attncli.Run, kind: Kind = "encoder") -> Array:
    """Residual rollout of one stack from the kept maps, in float64."""
    found = np.eye(len(run.attention(kind).queries))
    for layer in run.attention(kind).layers:
        mean = layer.weights.astype(np.float64).mean(0)
        found = one(mean + np.eye(len(mean))) @ found
    return found


def streamed(model: str | Path, texts: list[str], study: FlowStudy, **options: object) -> Sequence[Flow]:
    """As the command does it, without keeping maps."""
    request = Request.of({**options, **study.run_options()})  # type: ignore[arg-type, typeddict-item]
    loaded = attncli.load(str(model))
    execution = Execution(request, tuple(map(attncli.Text, texts)), load=lambda: loaded)
    return study.run(execution)[1]


@pytest.mark.parametrize("name", ["encoder", "decoder"])
def test_it_is_the_product_of_the_mean_maps(name: Kind) -> None:
    run = attncli.load(f"demo:{name}").run("one two three four")
    assert_allclose(run.rollout().flow.values, by_hand(run, name), atol=1e-12)


def test_of_a_pretrained_model_with_its_baselines(minilm: Path) -> None:
    run = attncli.load(str(minilm)).run(ANIMAL)
    found = run.rollout().flow
    assert_allclose(found.values, by_hand(run), atol=1e-12)
    n = len(found.keys)
    kept = 0.5**6
    assert_allclose(found.uniform, kept * np.eye(n) + (1 - kept) / n, atol=1e-12)
    assert_allclose(found.position.sum(1), 1)
    # [CLS] takes most of the rollout of every token, seven times and more what even attention would give
    assert (found.values[:, 0] > 7 * found.uniform[1, 0]).all()
    assert found.layers == tuple(range(6))


def test_maximum_flow_of_a_real_model_is_that_of_networkx(minilm: Path) -> None:
    run = attncli.load(str(minilm)).run("It was too tired.")
    graph = networkx.DiGraph()
    for at, layer in enumerate(run.attention().layers):
        mean = layer.weights.astype(np.float64).mean(0)
        step = one(mean + np.eye(len(mean)))
        for (i, j), width in np.ndenumerate(step):
            graph.add_edge((at + 1, i), (at, j), capacity=width)
    found = run.flow().flow
    n = len(found.keys)
    expected = [[networkx.maximum_flow_value(graph, (6, i), (0, j)) for j in range(n)] for i in range(n)]
    assert found.maximum is not None
    assert_allclose(found.maximum, expected, atol=1e-6)
    assert_allclose(found.values, one(np.array(expected)), atol=1e-6)
    assert_allclose(run.flow(focus="tired").flow.values, found.values[[4]], atol=1e-12)


@pytest.mark.parametrize("method", ["rollout", "flow"])
@pytest.mark.parametrize("name", ["encoder", "decoder", "seq2seq"])
def test_streamed_and_kept_maps_give_the_same(method: str, name: str, tmp_path: Path) -> None:
    texts = ["one two", "four"]
    kept = attncli.load(f"demo:{name}").run(texts)
    found = streamed(f"demo:{name}", texts, FlowStudy(FlowOptions(method=method)))
    assert len(found) == 2 * (3 if name == "seq2seq" else 1)
    for flow in found:
        again = getattr(kept, method)(flow.kind, flow.text).flow
        assert flow.steps is not None
        for values in ("values", "uniform", "position"):
            assert_allclose(getattr(flow, values), getattr(again, values), atol=1e-6)


def test_through_an_encoder_decoder_rows_sum_to_one_over_both_inputs() -> None:
    run = attncli.load("demo:seq2seq").run("one two", target="owt eno")
    for method in (run.rollout, run.flow):
        cross, own = method("cross").flow, method("decoder").flow
        assert_allclose(cross.values.sum(1) + own.values.sum(1), 1)
        assert np.isnan(cross.position).all()
        assert not np.isnan(own.position).any()
    encoder = by_hand(run)
    by = {kind: [layer.weights.astype(np.float64).mean(0) for layer in run.attention(kind).layers] for kind in KINDS}
    target, source = np.eye(len(own.queries)), np.zeros((len(own.queries), len(encoder)))
    for own_map, cross_map in zip(by["decoder"], by["cross"], strict=True):
        step = one(own_map + np.eye(len(own_map)))
        target, source = step @ target / 2, step @ source / 2 + cross_map @ encoder / 2
    assert_allclose(run.rollout("cross").flow.values, source, atol=1e-6)
    assert_allclose(run.rollout("decoder").flow.values, target, atol=1e-6)


def test_the_graph_knows_the_tokens_of_both_stacks_whatever_is_shown() -> None:
    run = attncli.load("demo:seq2seq").run("one two", target="owt")
    for kind in ("decoder", "cross"):
        graph = run.rollout(kind).flow.steps
        assert graph is not None
        pieces = {stack: tokens.pieces for stack, tokens in graph.tokens.items()}
        assert pieces == {"encoder": run.inputs[0].source.pieces, "decoder": run.inputs[0].target.pieces}
    encoder = run.rollout("encoder").flow.steps
    assert encoder is not None
    assert set(encoder.tokens) == {"encoder"}


def test_words_and_special_tokens_are_read_before_layers_are_joined(tmp_path: Path) -> None:
    texts = [ANIMAL]
    (flow,) = streamed("demo:encoder", texts, FlowStudy(), words=True, special="drop")
    run = attncli.load("demo:encoder").run(ANIMAL, words=True, special="drop")
    assert flow.queries.pieces == run.attention().queries.pieces
    assert_allclose(flow.values, by_hand(run), atol=1e-6)
    assert (flow.words, flow.dropped_special) == (True, True)
    assert run.rollout().flow.words


def test_a_focus_of_several_tokens_and_later_layers() -> None:
    run = attncli.load("demo:encoder").run(ANIMAL)
    whole = run.rollout(start_layer=2, residual=False).flow
    part = run.rollout(start_layer=2, residual=False, focus="didn't").flow
    assert len(part.rows) > 1
    assert_allclose(part.values, whole.values[part.rows])
    maps = [layer.weights.astype(np.float64).mean(0) for layer in run.attention().layers[2:]]
    assert_allclose(whole.values, maps[1] @ maps[0], atol=1e-6)
    largest = [layer.weights.astype(np.float64).max(0) + np.eye(len(whole.keys)) for layer in run.attention().layers]
    expected = np.eye(len(whole.keys))
    for step in largest:
        expected = one(step) @ expected
    assert_allclose(run.rollout(aggregate="max").flow.values, expected, atol=1e-12)


def test_a_table_and_two_pictures() -> None:
    shown = attncli.load("demo:encoder").run("one two").flow(focus="two")
    frame = shown.to_frame()
    assert list(frame) == [
        *("text", "kind", "query", "key", "query_token", "query_piece", "key_token", "key_piece"),
        *("flow", "uniform", "position", "maximum"),
    ]
    assert_allclose(frame["flow"].sum(), 1)
    assert shown.figure(threshold=0.2).axes
    assert shown.matrix().axes


def test_maps_made_elsewhere(tmp_path: Path) -> None:
    maps = np.random.default_rng(0).dirichlet(np.ones(4), (3, 2, 4)).astype(np.float32)
    np.save(tmp_path / "maps.npy", maps)
    run = attncli.open(tmp_path / "maps.npy", axes="layer,head,query,key")
    assert_allclose(run.rollout().flow.values, by_hand(run), atol=1e-12)
    np.save(tmp_path / "one.npy", maps[0, 0])
    alone = attncli.open(tmp_path / "one.npy").rollout().flow
    assert_allclose(alone.values, (maps[0, 0] + np.eye(4)) / 2, atol=1e-6)


def test_kept_maps_that_are_combined_over_heads_are_taken_as_they_are() -> None:
    text, model = "one two three", attncli.load("demo:encoder")
    for how in ("mean", "max"):
        combined = model.run(text, aggregate=how).rollout().flow
        assert combined.aggregate == how
        assert_allclose(combined.values, model.run(text).rollout(aggregate=how).flow.values, atol=1e-6)


def test_calls_that_cannot_be_meant() -> None:
    model = attncli.load("demo:encoder")
    run = model.run("one two")
    with pytest.raises(UsageError, match="unknown option 'focos': did you mean 'focus'"):
        run.rollout(focos="one")  # type: ignore[call-arg]
    with pytest.raises(UsageError, match="expected aggregate to be mean, max or weights:FILE, got 'none'"):
        run.rollout(aggregate="none")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="these maps are the mean over layers: keep them without aggregate_layers"):
        model.run("one two", aggregate_layers="mean").rollout()
    with pytest.raises(UsageError, match="pooled or show a part of the text"):
        model.run("one two three four", resolution=2).rollout()
    with pytest.raises(UsageError, match="several kinds of attention: say which of encoder, decoder, cross"):
        attncli.load("demo:seq2seq").run("one", target="eno").rollout()
    with pytest.raises(UsageError, match="no maps of kind 'cross'"):
        run.flow("cross")
    with pytest.raises(UsageError, match="no maps of text 3"):
        run.flow(text=3)


def test_a_flow_can_begin_at_the_row_that_predicts_a_token() -> None:
    run = attncli.load("demo:decoder").run("the cat sat", keep_maps=True)
    own, predicted = run.rollout("decoder"), run.rollout("decoder", rows_as="predicted")
    pieces = run.inputs[0].source.pieces
    frame = predicted.to_frame()
    assert frame["query"].unique().tolist() == list(range(1, len(pieces)))
    assert frame["query_piece"].tolist() == [piece for piece in pieces[1:] for _ in pieces]
    np.testing.assert_array_equal(predicted.flow.values, own.flow.values[:-1])
    focus = run.rollout("decoder", rows_as="predicted", focus=3)
    np.testing.assert_array_equal(focus.flow.values, own.flow.values[2:3])
    assert (focus.flow.rows.tolist(), focus.flow.named.tolist()) == ([2], [3])
    with pytest.raises(UsageError, match="no row predicts"):
        run.rollout("decoder", rows_as="predicted", focus=0)
    with pytest.raises(UsageError, match="needs a decoder"):
        attncli.load().run("a cat").rollout(rows_as="predicted")
