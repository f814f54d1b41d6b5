"""Pooled maps: each cell is the mean or maximum of its visible pairs, however the stream is split."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from made_rows import Map, batches, block, feed, inputs, of_keys, part, random_map, with_visible
from torch.utils._python_dispatch import TorchDispatchMode

from attncli.data import Array, Attention, Input, Kind, LayerMaps, Rows, Zoom
from attncli.data.transforms import zoomed
from attncli.errors import UsageError
from attncli.stream import KeepMaps, PoolMaps


def pooled(rows: list[Rows], texts: list[Input], zoom: Zoom, **options: Any) -> tuple[Attention, ...]:
    sink = PoolMaps(zoom, **options)
    feed(sink, rows)
    return sink.result(texts)


def kept(rows: list[Rows], texts: list[Input], **options: Any) -> tuple[Attention, ...]:
    sink = KeepMaps(**options)
    feed(sink, rows)
    return sink.result(texts)


def blocks(rows: Rows, cuts: list[int], split: int) -> list[Rows]:
    """Return the rows in several blocks, in two groups of heads and with the last rows first."""
    edges = sorted({0, *cuts, rows.weights.shape[2]})
    heads = [some for some in (range(split, len(rows.heads)), range(split)) if some]
    return [part(rows, first, last, some) for first, last in list(pairwise(edges))[::-1] for some in heads]


def naive(one: Map, zoom: Zoom) -> tuple[Array, Array]:
    """Return cells and which of them are visible, computed pair by pair in float64."""
    weights, visible = one.weights.double().numpy(), one.visible.numpy()
    heads, n, m = weights.shape
    (r0, r1), (k0, k1) = zoom.rows or (0, n - 1), zoom.keys or (0, m - 1)
    most = zoom.resolution or max(n, m)
    tall, wide = math.ceil((r1 - r0 + 1) / most), math.ceil((k1 - k0 + 1) / most)
    shape = (math.ceil((r1 - r0 + 1) / tall), math.ceil((k1 - k0 + 1) / wide))
    cells, seen = np.zeros((heads, *shape)), np.zeros(shape, bool)
    for row in range(shape[0]):
        for column in range(shape[1]):
            pairs = [
                (i, j)
                for i in range(r0 + row * tall, min(r0 + (row + 1) * tall, r1 + 1))
                for j in range(k0 + column * wide, min(k0 + (column + 1) * wide, k1 + 1))
                if visible[i, j]
            ]
            seen[row, column] = bool(pairs)
            for head in range(heads if pairs else 0):
                values = [weights[head, i, j] for i, j in pairs]
                cells[head, row, column] = max(values) if zoom.pool == "max" else math.fsum(values) / len(values)
    return cells, seen


def check(maps: LayerMaps, one: Map, zoom: Zoom) -> None:
    expected, seen = naive(one, zoom)
    found = np.ones(expected.shape[1:], bool) if maps.visible is None else maps.visible[0]
    np.testing.assert_array_equal(found, seen)
    np.testing.assert_allclose(maps.weights[:, seen], expected[:, seen], rtol=2e-6, atol=1e-9)


ZOOMS = st.builds(Zoom, resolution=st.integers(1, 16), pool=st.sampled_from(["mean", "max"]))


@given(batches(), ZOOMS, st.booleans(), st.data())
def test_cells_are_those_of_naive_pooling_however_the_stream_is_split(
    batch: tuple[Kind, list[Map]], zoom: Zoom, left: bool, data: st.DataObject
) -> None:
    kind, maps = batch
    rows = block(maps, kind, padding=(1, 2), left=left)
    cuts = data.draw(st.lists(st.integers(1, rows.weights.shape[2] - 1), max_size=3))
    found = pooled(blocks(rows, cuts, data.draw(st.integers(0, len(rows.heads)))), inputs(maps), zoom)
    assert [each.text for each in found] == list(range(len(maps)))
    for attention, one in zip(found, maps, strict=True):
        check(attention.layers[0], one, zoom)


@pytest.mark.parametrize("pool", ["mean", "max"])
@pytest.mark.parametrize(("rule", "n", "m"), [("causal", 205, 205), ("sliding", 131, 131), ("all", 77, 150)])
def test_cells_of_longer_texts_are_exact(rule: str, n: int, m: int, pool: Any) -> None:
    one = random_map(5, 2, n, m, rule, origin="float64")
    rows = block([one], "decoder" if n == m else "cross")
    zoom = Zoom(resolution=32, pool=pool)
    [attention] = pooled(blocks(rows, [1, 40, 111], 1), inputs([one]), zoom)
    check(attention.layers[0], one, zoom)
    assert (attention.pool, attention.cell) == (pool, (math.ceil(n / 32), math.ceil(m / 32)))
    assert attention.window is None
    assert (len(attention.queries), len(attention.keys)) == (n, m)


@given(batches(), st.integers(1, 16), st.sampled_from(["mean", "max"]), st.data())
def test_a_window_is_exact_and_then_pooled(
    batch: tuple[Kind, list[Map]], resolution: int, pool: Any, data: st.DataObject
) -> None:
    kind, maps = batch
    n, m = (min(one.weights.shape[axis] for one in maps) for axis in (1, 2))
    spans = [tuple(sorted(data.draw(st.lists(st.integers(0, size - 1), min_size=2, max_size=2)))) for size in (n, m)]
    zoom = Zoom(resolution, pool, spans[0], spans[1])  # type: ignore[arg-type]
    rows = block(maps, kind, padding=(2, 1), left=True)
    for attention, one in zip(pooled(blocks(rows, [1], 1), inputs(maps), zoom), maps, strict=True):
        check(attention.layers[0], one, zoom)
        whole = spans == [(0, size - 1) for size in one.weights.shape[1:]]
        assert attention.window == (None if whole else tuple(spans))
        assert attention.queries.pieces == tuple(f"t{at}" for at in range(spans[0][0], spans[0][1] + 1))
        assert attention.sides[1].first == (0 if whole else spans[1][0])


@given(batches(), st.sampled_from(["none", "mean", "max"]), st.sampled_from(["none", "mean"]))
def test_a_text_that_needs_no_pooling_has_whole_maps(
    batch: tuple[Kind, list[Map]], aggregate: str, aggregate_layers: str
) -> None:
    kind, maps = batch
    rows = [block(maps, kind, layer=layer) for layer in (0, 1)]
    combine = {"aggregate": aggregate, "aggregate_layers": aggregate_layers}
    for ours, other in zip(
        pooled(rows, inputs(maps), Zoom(resolution=14), **combine), kept(rows, inputs(maps), **combine), strict=True
    ):
        assert (ours.window, ours.pool, ours.cell, ours.aggregate) == (None, "none", (1, 1), aggregate)
        assert ours.aggregate_layers == aggregate_layers
        for one, two in zip(ours.layers, other.layers, strict=True):
            assert (one.layer, one.heads) == (two.layer, two.heads)
            np.testing.assert_allclose(one.weights, two.weights, rtol=1e-6)
            np.testing.assert_array_equal(one.visible, two.visible)  # type: ignore[arg-type]


@given(batches(), ZOOMS)
def test_kept_maps_are_pooled_like_the_stream(batch: tuple[Kind, list[Map]], zoom: Zoom) -> None:
    kind, maps = batch
    rows = block(maps, kind)
    later = [zoomed(attention, zoom) for attention in kept([rows], inputs(maps))]
    for one, two in zip(pooled([rows], inputs(maps), zoom), later, strict=True):
        assert (one.window, one.pool, one.cell) == (two.window, two.pool, two.cell)
        np.testing.assert_allclose(one.layers[0].weights, two.layers[0].weights, rtol=2e-6, atol=1e-9)
        np.testing.assert_array_equal(one.layers[0].visible, two.layers[0].visible)  # type: ignore[arg-type]


def test_only_selected_heads_are_pooled() -> None:
    one = random_map(1, 4, 9, 9)
    rows = [block([one], layer=layer) for layer in (0, 3)]
    [attention] = pooled(rows, inputs([one]), Zoom(3), heads={("encoder", 3): (1, 3)})
    [layer] = attention.layers
    assert (layer.layer, layer.heads) == (3, (1, 3))
    np.testing.assert_allclose(layer.weights, naive(one, Zoom(3))[0][[1, 3]], rtol=2e-6)


def test_blocks_may_have_some_keys_in_any_order() -> None:
    one = random_map(3, 2, 40, 40, "causal")
    rows = block([one], "decoder")
    order = torch.randperm(20, generator=torch.Generator().manual_seed(0))
    early = of_keys(part(rows, 0, 20), order)
    [attention] = pooled([early, part(rows, 20, 40)], inputs([one]), Zoom(7))
    check(attention.layers[0], one, Zoom(7))


def test_heads_with_different_masks_have_their_own_pairs() -> None:
    wide, near = random_map(1, 1, 12, 12, "causal"), random_map(2, 1, 12, 12, "sliding")
    rows = with_visible(block([wide], "decoder"), torch.stack([wide.visible, near.visible])[None])
    both = replace(rows, heads=(0, 1), raw=torch.cat([wide.weights, near.weights])[None])
    for pool in ("mean", "max"):
        zoom = Zoom(3, pool)  # type: ignore[arg-type]
        [attention] = pooled([both], inputs([wide]), zoom)
        maps = attention.layers[0]
        for head, one in enumerate((wide, near)):
            assert maps.visible is not None
            check(LayerMaps(0, (head,), maps.weights[[head]], maps.visible[[head]]), one, zoom)


def test_a_panel_size_limits_pooled_maps_only() -> None:
    assert Zoom(1024, panel=100).sides(1024, 30)[0].cell == 1
    rows, keys = Zoom(1024, panel=100).sides(2048, 30)
    assert (rows.cell, len(rows), keys.cell, len(keys)) == (21, 98, 1, 30)


def test_a_cell_without_a_visible_pair_is_masked() -> None:
    one = random_map(1, 1, 4, 4, "causal")
    [attention] = pooled([block([one], "decoder")], inputs([one]), Zoom(2))
    assert attention.layers[0].visible is not None
    assert attention.layers[0].visible.tolist() == [[[True, False], [True, True]]]
    expected = one.weights[0, :2, :2].double().numpy()[np.tri(2, dtype=bool)].mean()
    assert attention.values[0, 0] == pytest.approx(expected)


def test_a_window_outside_of_the_text_names_its_length() -> None:
    one = random_map(1, 1, 4, 6)
    for zoom, said in (
        (Zoom(rows=(2, 4)), "--rows 2-4 is outside the text: it has 4 query tokens, 0-3"),
        (Zoom(keys=(6, 6)), "--keys 6 is outside the text: it has 6 key tokens, 0-5"),
        (Zoom(keys=(-7, -1)), "--keys -7--1 is outside"),
    ):
        with pytest.raises(UsageError, match=said):
            PoolMaps(zoom).add(block([one], "cross"))
    rows, keys = Zoom(rows=(-2, -1), keys=(-1, -1)).sides(4, 6)
    assert (rows.first, rows.last, keys.first, keys.last) == (2, 3, 5, 5)


class Largest(TorchDispatchMode):
    """Records the size of the largest new tensor."""

    size = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if isinstance(made, torch.Tensor):
            self.size = max(self.size, made.untyped_storage().nbytes() // made.element_size())
        return made


@pytest.mark.parametrize("pool", ["mean", "max"])
def test_no_tensor_is_larger_than_a_block_or_the_cells(pool: Any) -> None:
    n, step = 600, 50
    one = random_map(2, 1, n, n, "causal")
    sink = PoolMaps(Zoom(20, pool))
    with Largest() as noted:
        for first in range(0, n, step):
            rows = block(
                [replace(one, weights=one.weights[:, first : first + step], visible=one.visible[first : first + step])]
            )
            visibility = replace(rows.visibility, query_positions=rows.query_positions + first, query_lengths=(n,))
            sink.add(replace(rows, visibility=visibility))
        sink.end_layer("encoder", 0)
    assert noted.size <= n * n
    [attention] = sink.result(inputs([one]))
    check(attention.layers[0], one, Zoom(20, pool))
