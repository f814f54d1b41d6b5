"""The strongest edges are those of sorted whole maps, however the stream is split, with ties in order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hostile import HOSTILE
from hypothesis import given
from hypothesis import strategies as st
from made_rows import Map, as_streamed, batches, block, by_hand, causal, feed, inputs, of_keys, part, random_map
from naive_attention import Array

import attncli
from attncli.data import KINDS, Attention, Edges, Input, Kind, Rows, Text
from attncli.data.surfaces import token_texts
from attncli.errors import UsageError
from attncli.stream import StrongestEdges
from attncli.stream import edges as edges_module
from attncli.stream.edges import LIMIT

Edge = tuple[int, str, int, int, int, int, float]


def naive(
    weights: Array, visible: Array, top_k: int | None, min_weight: float | None
) -> Iterator[tuple[int, int, int, float]]:
    """Yield (head, query, key, weight) of whole maps [head, query, key] by sorting every row."""
    for head, query in np.ndindex(weights.shape[:2]):
        row = [(-float(weights[head, query, key]), key) for key in np.flatnonzero(visible[query])]
        for negative, key in sorted(row)[:top_k]:
            if min_weight is None or -negative >= np.float32(min_weight):
                yield head, query, int(key), -negative


def listed(edges: Edges) -> list[Edge]:
    columns = (edges.text, edges.layer, edges.head, edges.query, edges.key, edges.weight)
    kinds = [KINDS[number] for number in edges.kind]
    text, *rest = (column.tolist() for column in columns)
    return list(zip(text, kinds, *rest, strict=True))


def found(rows: Sequence[Rows], maps: Sequence[Map], top_k: int | None, min_weight: float | None = None) -> Edges:
    sink = StrongestEdges(inputs(maps), top_k=top_k, min_weight=min_weight)
    feed(sink, rows)
    edges = sink.result()
    assert edges is not None
    return edges


def expected(kind: Kind, maps: Sequence[Map], top_k: int | None, min_weight: float | None) -> list[Edge]:
    return [
        (text, kind, 0, *edge)
        for text, one in enumerate(maps)
        for edge in naive(one.weights.float().numpy(), one.visible.numpy(), top_k, min_weight)
    ]


WANTED = [(1, None), (3, None), (100, None), (None, 0.2), (None, 1.0), (2, 0.05)]


@given(batches(), st.sampled_from(WANTED), st.integers(0, 3), st.integers(1, 13), st.booleans())
def test_edges_are_those_of_sorted_rows_however_the_stream_is_split(
    made: tuple[Kind, list[Map]], wanted: tuple[int | None, float | None], padding: int, cut: int, left: bool
) -> None:
    kind, maps = made
    rows = block(maps, kind, padding=(padding, padding), left=left)
    n = rows.weights.shape[2]
    blocks = [part(rows, first, min(first + cut, n)) for first in range(0, n, cut)][::-1]
    assert listed(found(blocks, maps, *wanted)) == expected(kind, maps, *wanted)


@pytest.mark.parametrize("rule", ["all", "causal", "sliding", "blind"])
@pytest.mark.parametrize("count", [1, 2, 4])
def test_edges_of_many_keys_are_those_of_sorted_rows(rule: str, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edges_module, "_CHUNKS", (3, 2))
    maps = [random_map(seed, 2, n, n, rule) for seed, n in ((1, 41), (2, 35))]
    # equal weights within a row, and weights of 0 on visible keys
    maps = [replace(one, weights=(one.weights * 20).floor() / 32) for one in maps]
    whole = block(maps, "decoder", padding=(1, 2), left=True)
    assert listed(found([part(whole, 20, 42), part(whole, 0, 20)], maps, count)) == expected(
        "decoder", maps, count, None
    )
    alone = as_streamed(block(maps[:1], "decoder"))
    ours, exact = listed(found([alone], maps[:1], count)), expected("decoder", maps[:1], count, None)
    assert [edge[:6] for edge in ours] == [edge[:6] for edge in exact]


def test_the_first_of_equal_weights_win() -> None:
    even = by_hand([[1 / 8] * 8] * 3)
    edges = found([block([even])], [even], 3)
    assert edges.key.tolist() == [0, 1, 2] * 3
    assert edges.weight.tolist() == [0.125] * 9


def test_one_hot_rows_have_one_edge_from_any_threshold() -> None:
    previous = by_hand([[1.0, 0, 0], [1, 0, 0], [0, 1, 0]], causal(3))
    edges = found([block([previous], "decoder")], [previous], None, 1e-6)
    assert [edge[4:] for edge in listed(edges)] == [(0, 0, 1.0), (1, 0, 1.0), (2, 1, 1.0)]


def test_the_threshold_has_the_precision_of_the_weights() -> None:
    one = by_hand([[0.7, 0.3], [0.3, 0.7]])
    assert len(found([block([one])], [one], None, 0.7)) == 2


def test_blocks_with_some_keys_and_some_heads_are_joined() -> None:
    one = random_map(3, 3, 9, 9, "causal")
    rows = block([one], "decoder")
    blocks = []
    for first, heads in ((6, [2, 0]), (0, [1]), (6, [1]), (0, [0, 2]), (3, [0, 1, 2])):
        blocks.append(of_keys(part(rows, first, first + 3, heads), slice(0, first + 3)))
    assert listed(found(blocks, [one], 4)) == expected("decoder", [one], 4, None)


def test_chunks_are_passed_on_when_the_limit_is_reached() -> None:
    one = random_map(1, 2, 16, 16)
    chunks: list[Edges] = []
    sink = StrongestEdges(inputs([one]), chunks.append, top_k=2, limit=40)
    for layer in range(4):
        sink.add(block([one], layer=layer))
        sink.end_layer("encoder", layer)
    assert sink.result() is None
    assert [sorted(set(chunk.layer.tolist())) for chunk in chunks] == [[0], [1], [2], [3]]
    sink = StrongestEdges(inputs([one]), chunks.append, top_k=2, limit=1)
    chunks.clear()
    for first in range(0, 16, 4):
        sink.add(part(block([one]), first, first + 4))
    assert [(chunk.query.min(), chunk.query.max()) for chunk in chunks] == [(0, 3), (4, 7), (8, 11), (12, 15)]
    assert LIMIT * 8 * 8 < 100e6  # bytes


# ----------------------------------------------------------------------------------------- real models


def whole_map(attention: Attention) -> dict[tuple[int, int], Array]:
    return {
        (layer.layer, head): layer.weights[at]
        for layer in attention.layers
        if isinstance(layer.layer, int)
        for at, head in enumerate(layer.heads)
    }


@pytest.mark.parametrize("name", ["demo:encoder", "demo:decoder", "demo:seq2seq", "minilm"])
def test_edges_of_a_pass_are_those_of_its_eager_maps(name: str, minilm: Path) -> None:
    model = attncli.load(str(minilm) if name == "minilm" else name)
    texts = ["one two three four", "one two"]
    eager = model.run(texts, capture="eager")
    table = model.run(texts, top_k=3, min_weight=0.05, keep_maps=False).edges().to_frame()
    names = ["text", "kind", "layer", "head", "query", "key"]
    assert list(table) == [*names, "query_token", "query_piece", "key_token", "key_piece", "weight"]
    rows = 0
    for attention in eager.maps:
        here = table[(table["text"] == attention.text) & (table["kind"] == attention.kind)]
        rows += len(here)
        for (layer, head), weights in whole_map(attention).items():
            mine = here[(here["layer"] == layer) & (here["head"] == head)]
            visible = np.tri(*weights.shape, dtype=bool) if attention.kind == "decoder" else weights >= 0
            close = list(naive(weights[None], visible, 3, 0.05))
            assert mine["weight"].to_numpy() == pytest.approx([edge[3] for edge in close], abs=1e-5)
            assert weights[mine["query"], mine["key"]] == pytest.approx(mine["weight"].to_numpy(), abs=1e-5)
        for side, tokens in (("query", attention.queries), ("key", attention.keys)):
            assert here[f"{side}_piece"].tolist() == [tokens.pieces[at] for at in here[side]]
            assert here[f"{side}_token"].tolist() == [token_texts(tokens)[at] for at in here[side]]
    assert rows == len(table)
    ordered = table.assign(weight=-table["weight"])
    ordered = ordered.sort_values(["text", "kind", "layer", "head", "query", "weight", "key"])
    assert ordered.index.tolist() == list(range(len(table)))


@pytest.mark.parametrize("options", [{}, {"words": True}, {"special": "drop"}, {"words": True, "special": "drop"}])
def test_kept_maps_give_the_edges_of_the_pass(options: attncli.RunOptions) -> None:
    run = attncli.load().run(["Unbelievable, really.", "Yes."], top_k=2, head="0,2", **options)
    assert run.edges().to_frame().equals(run.edges(top_k=2).to_frame())
    assert set(run.edges().head.tolist()) == {0, 2}
    some = run.edges(min_weight=0.5)
    assert (some.weight >= 0.5).all()
    assert len(some) == sum((layer.weights >= 0.5).sum() for one in run.maps for layer in one.layers)


def test_top_k_above_the_number_of_keys_gives_all_keys_and_a_note() -> None:
    run = attncli.load("demo:decoder").run("one two three", top_k=50, keep_maps=False)
    tokens = len(run.inputs[0].source)
    assert len(run.edges()) == 3 * 8 * tokens * (tokens + 1) // 2
    assert run.info.notes == (f"--top-k 50 is more than the {tokens} tokens of a text: all visible keys are taken",)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"top_k": 0}, "expected --top-k to be a number from 1 up, got 0"),
        ({"min_weight": 0}, "expected --min-weight to be above 0 and at most 1, got 0"),
        ({"min_weight": 1.5}, "expected --min-weight to be above 0 and at most 1, got 1.5"),
        ({"min_weight": float("nan")}, "expected --min-weight to be above 0 and at most 1, got nan"),
        ({"profile": True, "aggregate": "mean"}, "needs single heads"),
    ],
)
def test_invalid_options_are_refused(options: attncli.RunOptions, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        attncli.load().run("one", **options)


def test_edges_that_were_not_kept_are_an_error() -> None:
    run = attncli.load().run("one two")
    with pytest.raises(UsageError, match="expected top_k or min_weight, got neither"):
        run.edges()
    streamed = attncli.load().run("one two", metrics="entropy", keep_maps=False).edges(top_k=1)
    assert streamed.to_frame().equals(run.edges(top_k=1).to_frame())


def test_hostile_tokens_are_unchanged_in_the_table() -> None:
    pieces = [*HOSTILE, "\udcff"]
    n = len(pieces)
    here = Input(0, Text("x"), attncli.Tokens.plain(pieces))
    at = np.arange(n)
    edges = Edges([here], at * 0, at * 0, at * 0, at * 0, at, at[::-1], at * 0.5)
    assert edges.to_frame()["query_token"].tolist() == pieces
    assert edges.to_frame()["key_token"].tolist() == pieces[::-1]


def test_without_edges_the_table_is_empty() -> None:
    run = attncli.load().run("one two three", min_weight=1.0, layer=2, keep_maps=False)
    assert len(run.edges()) == 0
    assert list(run.edges().to_frame())[-1] == "weight"


def test_weights_that_the_bits_of_a_float_order_are_never_negative() -> None:
    tiny = torch.tensor([0.0, 1e-45, 1e-38, 0.5, 1.0])
    assert tiny.view(torch.int32).tolist() == sorted(tiny.view(torch.int32).tolist())
