"""Heads and layers are combined before cells are pooled, and however rows and keys are cut into blocks."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from made_rows import Map, block, feed, inputs, of_keys, part, random_map, with_visible

from attncli.data import Array, Attention, LayerMaps, Rows, Zoom
from attncli.data.head_weights import LayerWeights
from attncli.data.transforms import zoomed
from attncli.errors import UsageError
from attncli.stream import KeepMaps, PoolMaps
from attncli.stream.combine import PassCombined
from attncli.stream.keep import ALL

Stacked = tuple[Array, Array]
"""Weights [head, query, key], NaN in undefined rows, and the visible pairs in the same shape."""


def stacked(one: Map, visible: Array | None = None) -> Stacked:
    """Return the maps of a layer in float64; `visible` [head, query, key] instead of the mask of the map."""
    weights = one.weights.double().numpy()
    seen = np.broadcast_to(one.visible.numpy() if visible is None else visible, weights.shape)
    return np.where(seen.any(-1, keepdims=True), np.where(seen, weights, 0.0), np.nan), seen


def combined(maps: list[Stacked], aggregate: str, aggregate_layers: str) -> list[Stacked]:
    """Return the maps of each layer combined over heads, then over layers, without attncli."""
    layers = []
    for weights, visible in maps:
        if aggregate == "none":
            layers.append((weights, visible))
            continue
        over_heads = np.nanmean if aggregate == "mean" else np.nanmax
        undefined = np.isnan(weights).all(0)
        values = np.where(undefined, np.nan, over_heads(np.where(undefined, 0.0, weights), axis=0))
        layers.append((values[None], visible.any(0, keepdims=True)))
    if aggregate_layers == "none":
        return layers
    values, visible = (np.stack(parts) for parts in zip(*layers, strict=True))
    undefined = np.isnan(values).all(0)
    return [(np.where(undefined, np.nan, np.nanmean(np.where(undefined, 0.0, values), axis=0)), visible.any(0))]


def cells(maps: Stacked, size: int, pool: str) -> Stacked:
    """Return the mean or maximum of the defined, visible pairs of each cell of `size` x `size` tokens, pair by pair."""
    weights, visible = maps
    heads, rows, keys = weights.shape
    pooled = np.full((heads, -(-rows // size), -(-keys // size)), np.nan)
    seen = np.zeros(pooled.shape, bool)
    for head, row, key in np.ndindex(*pooled.shape):
        at = head, slice(row * size, (row + 1) * size), slice(key * size, (key + 1) * size)
        values = weights[at][visible[at] & ~np.isnan(weights[at])]
        seen[head, row, key] = bool(visible[at].any())
        if not np.isnan(weights[at]).all():
            pooled[head, row, key] = 0 if not len(values) else values.max() if pool == "max" else values.mean()
    return pooled, seen


def check(found: LayerMaps, expected: Stacked) -> None:
    """Check weights in every cell, masked ones too, and that the masks are equal."""
    assert not np.isinf(found.weights).any()
    np.testing.assert_allclose(found.weights, np.where(expected[1] | np.isnan(expected[0]), expected[0], 0), 3e-6, 1e-7)
    visible = np.ones((), bool) if found.visible is None else found.visible
    np.testing.assert_array_equal(np.broadcast_to(visible, expected[1].shape), expected[1])


def in_strips(rows: Rows, cuts: list[int], split: int) -> list[Rows]:
    """Return the block in strips of rows, each with only the keys from its first to its last visible one."""
    strips = []
    for first, last in pairwise(sorted({0, *cuts, rows.raw.shape[2]})):
        for heads in (some for some in (range(split), range(split, len(rows.heads))) if some):
            strip = part(rows, first, last, heads)
            seen = np.flatnonzero(strip.visibility.visible.any(2).flatten(0, 1).any(0))
            strips.append(of_keys(strip, slice(seen[0], seen[-1] + 1) if len(seen) else slice(0, 1)))
    return strips


@st.composite
def decoders(draw: st.DrawFn) -> tuple[list[Map], list[Rows]]:
    """Draw the maps of layers with windows and without, and their blocks in any strips and groups of heads."""
    n, heads = draw(st.integers(2, 14)), draw(st.integers(1, 3))
    rules = draw(st.lists(st.sampled_from(["causal", "sliding", "chunked", "blind", "all"]), min_size=1, max_size=3))
    maps = [random_map(draw(st.integers(0, 10**6)), heads, n, n, rule) for rule in rules]
    rows = []
    for layer, one in enumerate(maps):
        cuts = draw(st.lists(st.integers(1, n - 1), max_size=3))
        rows += in_strips(block([one], "decoder", layer=layer), cuts, draw(st.integers(0, heads)))
    return maps, rows


AGGREGATES = st.sampled_from(["none", "mean", "max"])
LAYER_AGGREGATES = st.sampled_from(["none", "mean"])


@given(decoders(), AGGREGATES, LAYER_AGGREGATES)
def test_combining_commutes_with_cutting_rows_and_keys(
    made: tuple[list[Map], list[Rows]], aggregate: Any, aggregate_layers: Any
) -> None:
    maps, rows = made
    sink = KeepMaps(aggregate=aggregate, aggregate_layers=aggregate_layers)
    feed(sink, rows)
    [attention] = sink.result(inputs(maps[:1]))
    for found, expected in zip(
        attention.layers, combined(list(map(stacked, maps)), aggregate, aggregate_layers), strict=True
    ):
        check(found, expected)


@given(decoders(), AGGREGATES, LAYER_AGGREGATES, st.sampled_from(["mean", "max"]), st.integers(1, 8))
def test_heads_and_layers_are_combined_before_pooling(
    made: tuple[list[Map], list[Rows]], aggregate: Any, aggregate_layers: Any, pool: Any, resolution: int
) -> None:
    """The stream, and full maps that are combined and pooled later, give what pair by pair comes out."""
    maps, rows = made
    zoom, n = Zoom(resolution, pool), maps[0].weights.shape[1]
    heads = {("decoder", layer): tuple(range(len(one.weights))) for layer, one in enumerate(maps)}
    sink = PoolMaps(zoom, heads, aggregate=aggregate, aggregate_layers=aggregate_layers)  # type: ignore[arg-type]
    feed(sink, rows)
    later = KeepMaps()
    feed(later, rows)
    [full] = later.result(inputs(maps[:1]))
    full = full if aggregate == "none" else full.combined_heads(aggregate)
    full = full if aggregate_layers == "none" else full.mean("layer")
    size = -(-n // resolution)
    expected = [cells(one, size, pool) for one in combined(list(map(stacked, maps)), aggregate, aggregate_layers)]
    for attention in (*sink.result(inputs(maps[:1])), zoomed(full, zoom)):
        assert len(attention.layers) == len(expected)
        for found, pooled in zip(attention.layers, expected, strict=True):
            check(found, pooled)


def unlike_heads() -> tuple[Rows, Stacked]:
    """Return a block of two heads with a causal mask and a window, in which one head lacks a row."""
    wide, near = random_map(1, 1, 12, 12, "causal"), random_map(2, 1, 12, 12, "sliding")
    visible = torch.stack([wide.visible, near.visible & (torch.arange(12) != 4)[:, None]])
    both = replace(wide, weights=torch.cat([wide.weights, near.weights]))
    rows = with_visible(block([both], "decoder"), visible[None])
    return rows, stacked(both, visible.numpy())


@pytest.mark.parametrize("pool", ["mean", "max"])
@pytest.mark.parametrize("aggregate", ["mean", "max"])
@pytest.mark.parametrize("known", [True, False])
def test_a_row_counts_in_the_heads_that_have_it(
    aggregate: Literal["mean", "max"], pool: Literal["mean", "max"], known: bool
) -> None:
    """Groups of heads may come with different rows too: these wait for the end of the layer."""
    rows, maps = unlike_heads()
    sink = PoolMaps(Zoom(4, pool), {("decoder", 0): (0, 1)} if known else None, aggregate=aggregate)
    feed(sink, head_by_head(rows))
    [attention] = sink.result([replace(text, target=None) for text in inputs([random_map(1, 1, 12, 12)])])
    check(attention.layers[0], cells(combined([maps], aggregate, "none")[0], 3, pool))


def head_by_head(rows: Rows) -> list[Rows]:
    """Return the block of `unlike_heads` in blocks of one head, which are cut in other rows."""
    return [
        replace(
            part(rows, *span, [head]),
            visibility=replace(
                part(rows, *span, [head]).visibility, visible=rows.visibility.visible[:, [head], slice(*span)]
            ),
        )
        for head, spans in ((0, [(0, 5), (5, 12)]), (1, [(0, 5), (5, 8), (8, 12)]))
        for span in spans
    ]


@pytest.mark.parametrize("pool", ["mean", "max"])
@pytest.mark.parametrize("aggregate_layers", ["none", "mean"])
def test_the_mean_of_heads_beside_pooled_heads_is_taken_before_pooling(pool: Any, aggregate_layers: Any) -> None:
    maps = [random_map(seed, 3, 20, 20, "causal") for seed in (1, 2)]
    rows = [block([one], "decoder", layer=layer) for layer, one in enumerate(maps)]
    zoom = Zoom(5, pool, beside=("mean",))
    sink, later = PoolMaps(zoom, aggregate_layers=aggregate_layers), KeepMaps(aggregate_layers=aggregate_layers)
    feed(sink, rows)
    feed(later, rows)
    expected = [cells(one, 4, pool) for one in combined(list(map(stacked, maps)), "mean", aggregate_layers)]
    for attention in (*sink.result(inputs(maps[:1])), *(zoomed(full, zoom) for full in later.result(inputs(maps[:1])))):
        for found, pooled in zip(attention.mean("head").layers, expected, strict=True):
            check(found, pooled)
        [first, *_] = attention.sel(head=1).mean("head").layers
        np.testing.assert_array_equal(first.weights, attention.layers[0].weights[[1]])


def pooled(pool: Literal["mean", "max"]) -> Attention:
    maps = [random_map(seed, 3, 20, 20, "causal") for seed in (1, 2)]
    sink = PoolMaps(Zoom(5, pool))
    feed(sink, [block([one], "decoder", layer=layer) for layer, one in enumerate(maps)])
    [attention] = sink.result(inputs(maps[:1]))
    return attention


def test_pooled_maps_are_combined_only_if_the_order_does_not_matter() -> None:
    maps = [random_map(seed, 3, 20, 20, "causal") for seed in (1, 2)]
    for pool in ("mean", "max"):
        [expected, _] = [cells(one, 4, pool) for one in combined(list(map(stacked, maps)), pool, "none")]
        check(pooled(pool).combined_heads(pool).layers[0], expected)  # type: ignore[arg-type]
    for pool, how in (("mean", "max"), ("max", "mean")):
        with pytest.raises(UsageError, match=f"pooled already .the {pool} of each cell.*the {how} over heads"):
            pooled(pool).combined_heads(how)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="run the model again with --aggregate-layers mean"):
        pooled("mean").mean("layer")
    with pytest.raises(UsageError, match="the mean over heads"):
        replace(pooled("mean"), dropped_special=True).mean("head")


@pytest.mark.parametrize("of_heads", [{0: 0.25, 1: 0.75}, {0: 0.0, 1: 1.0}])
def test_a_weighted_mean_counts_rows_in_the_heads_that_have_them(of_heads: dict[int, float]) -> None:
    """The stream, in any blocks, and kept maps give a sum written by hand, in which heads of weight 0 have no rows."""
    rows, (weights, visible) = unlike_heads()
    made = LayerWeights({("decoder", 0): of_heads}, {("decoder", 0): 1.0})
    expected, seen = np.full(weights.shape[1:], np.nan), np.zeros(weights.shape[1:], bool)
    for row in range(len(expected)):
        having = [head for head in (0, 1) if of_heads[head] > 0 and visible[head, row].any()]
        if having:
            expected[row] = sum(of_heads[head] * weights[head, row] for head in having)
            expected[row] /= sum(of_heads[head] for head in having)
            seen[row] = np.logical_or.reduce([visible[head, row] for head in having])
    heads = {("decoder", 0): (0, 1)}
    keep, single = KeepMaps({("decoder", 0): (ALL,)}, aggregate="weighted"), KeepMaps()
    feed(PassCombined("weighted", heads, keep, made), head_by_head(rows))  # type: ignore[arg-type]
    feed(single, [rows])
    sources = [replace(text, target=None) for text in inputs([random_map(1, 1, 12, 12)])]
    [streamed], [kept] = keep.result(sources), single.result(sources)
    assert streamed.aggregate == "weighted"
    for found in (streamed.layers[0], kept.combined_heads("weighted", made).layers[0]):
        assert found.heads == ()
        np.testing.assert_allclose(found.weights[0], np.where(seen | np.isnan(expected), expected, 0), 3e-6, 1e-7)
