"""The distance between heads: against loops and closed forms, however the stream is split."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from made_rows import Map, batches, block, by_hand, causal, part, random_map, with_visible
from naive_attention import Array

from attncli.data import Kind, Rows
from attncli.stream.divergence import divergence
from attncli.stream.head_distance import HeadDistances, differentiation


def naive_distance(one: Array, other: Array, visible: Array, step: int = 1) -> float:
    """Return the square root of the mean JS over rows, which are rescaled to sum to 1."""
    found = []
    for i in range(0, len(one), step):
        if not visible[i].any():
            continue
        p, q = one[i] / one[i].sum(), other[i] / other[i].sum()
        m = (p + q) / 2
        kl = [sum(a * math.log(a / c) for a, c in zip(row, m, strict=True) if a > 0) for row in (p, q)]
        found.append(sum(kl) / 2)
    return math.sqrt(max(0.0, sum(found) / len(found))) if found else math.nan


def distances(rows: list[Rows], heads: int, most: int = 1024) -> Array:
    kind, layer = rows[0].kind, rows[0].layer
    sink = HeadDistances({(kind, layer): tuple(range(heads))}, most, most)
    for each in rows:
        sink.add(each)
    sink.end_layer(kind, layer)
    return sink.result()[kind, layer]


@given(batches(), st.integers(0, 2), st.integers(1, 13), st.integers(1, 3), st.randoms(use_true_random=False))
def test_distances_are_those_of_loops_however_the_stream_is_split(
    made: tuple[Kind, list[Map]], padding: int, cut: int, by: int, random: object
) -> None:
    kind, maps = made
    heads = len(maps[0].weights)
    whole = block(maps, kind, padding=(padding, padding))
    n = whole.weights.shape[2]
    parts = []
    for at in range(0, heads, by):
        # each group of heads has its rows cut otherwise
        size = cut + at
        some = list(range(at, min(at + by, heads)))
        parts += [part(whole, first, min(first + size, n), some) for first in range(0, n, size)]
    random.shuffle(parts)  # type: ignore[attr-defined]
    found = distances(parts, heads)
    assert found.shape == (heads, heads)
    assert np.diag(found).tolist() == [0.0] * heads
    for a in range(heads):
        for b in range(a + 1, heads):
            each = [naive_distance(*one.weights.double().numpy()[[a, b]], one.visible.numpy()) for one in maps]
            known = [value for value in each if not math.isnan(value)]
            expected = sum(known) / len(known) if known else math.nan
            assert found[a, b] == found[b, a] or math.isnan(found[a, b])
            assert found[a, b] == pytest.approx(expected, abs=2e-4, nan_ok=True)


def test_equal_heads_have_distance_0_and_heads_without_a_common_key_the_maximum() -> None:
    rows = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    made = Map(torch.stack([rows, rows, rows.roll(1, 1)]), torch.ones((2, 3), dtype=torch.bool), torch.zeros(3) > 0)
    found = distances([block([made], "cross")], 3)
    top = math.sqrt(math.log(2))
    assert found == pytest.approx(np.array([[0, 0, top], [0, 0, top], [top, top, 0]]))
    assert differentiation(found) == pytest.approx(2 / 3 * top)


def test_the_divergence_of_two_rows_by_hand() -> None:
    p, q = torch.tensor([[1.0, 0.0]], dtype=torch.float64), torch.tensor([[0.5, 0.5]], dtype=torch.float64)
    expected = 0.5 * math.log(1 / 0.75) + 0.5 * (0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25))
    assert divergence(p, q).item() == pytest.approx(expected)
    assert divergence(p, p).item() == 0


def test_the_mass_of_a_learned_sink_makes_no_difference() -> None:
    made = random_map(0, 1, 6, 6)
    both = Map(torch.cat([made.weights, made.weights * 0.6]), made.visible, made.special)
    assert distances([block([both])], 2) == pytest.approx(np.zeros((2, 2)), abs=1e-3)


def test_in_long_texts_evenly_spaced_rows_are_compared() -> None:
    made = random_map(3, 2, 23, 23, "causal")
    rows = block([made], "decoder")
    cut = [part(rows, first, min(first + 7, 23)) for first in range(0, 23, 7)]
    expected = naive_distance(*made.weights.double().numpy(), made.visible.numpy(), step=5)
    assert distances(cut, 2, most=5)[0, 1] == pytest.approx(expected, abs=1e-5)


def test_all_rows_of_short_texts_are_compared_and_some_of_longer_ones() -> None:
    for length, step in ((23, 1), (24, 5)):
        made = random_map(4, 2, length, length, "causal")
        sink = HeadDistances({("decoder", 0): (0, 1)}, 23, 5)
        sink.add(block([made], "decoder"))
        sink.end_layer("decoder", 0)
        expected = naive_distance(*made.weights.double().numpy(), made.visible.numpy(), step=step)
        assert sink.result()["decoder", 0][0, 1] == pytest.approx(expected, abs=1e-6)


def test_heads_that_see_different_keys_are_compared_on_all_keys() -> None:
    n = 8
    masks = torch.stack([torch.ones(n, n).tril().bool(), torch.ones(n, n).bool()])
    weights = torch.rand(2, n, n, generator=torch.Generator().manual_seed(1)) * masks
    weights /= weights.sum(-1, keepdim=True)
    rows = with_visible(block([Map(weights, masks[0], torch.zeros(n) > 0)]), masks[None])
    found = distances([part(rows, 0, 3), part(rows, 3, n)], 2)
    assert found[0, 1] == pytest.approx(naive_distance(*weights.double().numpy(), masks[1].numpy()), abs=1e-6)


def test_rows_wait_only_for_missing_heads() -> None:
    made = random_map(5, 4, 12, 12)
    rows = block([made])
    sink = HeadDistances({("encoder", 0): (0, 1, 2, 3)})
    for first in range(0, 12, 3):
        for some in ([0, 1], [2, 3]):
            sink.add(part(rows, first, first + 3, some))
        (pairs,) = sink._open["encoder", 0].values()
        assert pairs.waiting == []


def test_a_layer_of_one_head_has_no_differentiation() -> None:
    found = distances([block([by_hand([[1.0, 0.0], [0.5, 0.5]], causal(2))], "decoder")], 1)
    assert found.tolist() == [[0.0]]
    assert math.isnan(differentiation(found))
