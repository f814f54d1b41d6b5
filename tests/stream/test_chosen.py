"""Rows and columns of a few tokens are those of whole maps, however the stream is split."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_rows import Map, batches, block, feed, inputs, of_keys, part, random_map

from attncli.data import Attention, Input, Kind, Rows
from attncli.stream import KeepChosen, KeepMaps
from attncli.stream.keep import Side


def whole(rows: list[Rows], texts: list[Input], **options: Any) -> tuple[Attention, ...]:
    sink = KeepMaps(**options)
    feed(sink, rows)
    return sink.result(texts)


def chosen(
    side: Side, at: dict[tuple[int, Kind], list[int]], rows: list[Rows], texts: list[Input], **options: Any
) -> tuple[Attention, ...]:
    sink = KeepChosen(side, at, **options)
    feed(sink, rows)
    return sink.result(texts)


def same(found: Attention, full: Attention, side: Side, at: list[int]) -> None:
    axis = 1 if side == "query" else 2
    assert (found.queries if side == "query" else found.keys).pieces == tuple(f"t{place}" for place in at)
    for mine, theirs in zip(found.layers, full.layers, strict=True):
        assert (mine.layer, mine.heads) == (theirs.layer, theirs.heads)
        np.testing.assert_array_equal(mine.weights, np.take(theirs.weights, at, axis))
        seen = [
            np.ones(each.weights.shape[1:], bool) if each.visible is None else each.visible for each in (mine, theirs)
        ]
        np.testing.assert_array_equal(*np.broadcast_arrays(seen[0], np.take(seen[1], at, seen[1].ndim - 3 + axis)))


@given(batches(), st.sampled_from(["query", "key"]), st.data())
def test_chosen_rows_and_columns_are_those_of_whole_maps(
    made: tuple[Kind, list[Map]], side: Side, data: st.DataObject
) -> None:
    kind, maps = made
    padding = data.draw(st.sampled_from([(0, 0), (2, 3)]))
    rows = block(maps, kind, padding=padding, left=data.draw(st.booleans()))
    n = rows.weights.shape[2]
    cuts = sorted({0, n, *data.draw(st.lists(st.integers(1, n), max_size=3))})
    parts = [part(rows, first, last) for first, last in list(pairwise(cuts))[::-1]]
    places = {
        (text, kind): sorted(data.draw(st.sets(st.integers(0, one.weights.shape[1 if side == "query" else 2] - 1))))
        for text, one in enumerate(maps)
    }
    combine: dict[str, Any] = {"aggregate": data.draw(st.sampled_from(["none", "mean", "max"]))}
    full = whole(parts, inputs(maps), **combine)
    found = {each.text: each for each in chosen(side, places, parts, inputs(maps), **combine)}
    assert set(found) == {text for (text, _), at in places.items() if at}
    for attention in full:
        if attention.text in found:
            same(found[attention.text], attention, side, places[attention.text, kind])


@pytest.mark.parametrize("side", ["query", "key"])
def test_blocks_may_lack_keys_that_no_row_sees(side: Literal["query", "key"]) -> None:
    one = random_map(3, 2, 12, 12, "sliding")
    rows = block([one], "decoder")
    parts = [of_keys(part(rows, first, first + 4), slice(max(0, first - 2), first + 4)) for first in (0, 4, 8)]
    at = [1, 5, 11]
    (found,) = chosen(side, {(0, "decoder"): at}, parts, inputs([one]))
    (full,) = whole([rows], inputs([one]))
    same(found, full, side, at)


def test_the_mean_over_layers_is_that_of_whole_maps() -> None:
    maps = [random_map(layer, 3, 6, 6, "blind") for layer in range(2)]
    rows = [block([one], layer=layer) for layer, one in enumerate(maps)]
    options: Any = {"aggregate": "mean", "aggregate_layers": "mean"}
    (found,) = chosen("key", {(0, "encoder"): [2, 3]}, rows, inputs(maps[:1]), **options)
    (full,) = whole(rows, inputs(maps[:1]), **options)
    assert found.layers[0].layer == "mean"
    np.testing.assert_array_equal(found.layers[0].weights, full.layers[0].weights[:, :, 2:4])
