"""Uniform and positional baselines: against loops over maps, however the stream is split."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from made_rows import Map, batches, block, by_hand, causal, inputs, part, random_map, with_visible
from naive_attention import Array

from attncli.data import Kind, Rows
from attncli.stream import KeepChosen, KeepMaps
from attncli.stream.other_texts import OtherTextsBaseline
from attncli.stream.position_baseline import PositionBaseline
from attncli.stream.weights import UniformBaseline


def naive_positional(weights: Array, visible: Array, learned: Array | None = None) -> Array:
    """Return p(j-i) / Σ_{k ∈ S_i} p(k-i), p the mean weight at each offset over the rows that see it.

    learned  visible pairs of the rows that p is learned from; all by default
    """
    n, m = weights.shape
    learned = visible if learned is None else learned
    profile = {}
    for offset in range(1 - n, m):
        found = [weights[i, i + offset] for i in range(n) if 0 <= i + offset < m and learned[i, i + offset]]
        profile[offset] = sum(found) / len(found) if found else 0.0
    made = np.full((n, m), np.nan)
    for i in range(n):
        seen = [j for j in range(m) if visible[i, j]]
        total = sum(profile[j - i] for j in seen)
        if seen:
            made[i] = [profile[j - i] / total if j in seen else 0.0 for j in range(m)]
    return made


def baselines(rows: list[Rows], maps: list[Map]) -> tuple[list[Array], list[Array]]:
    """Return the uniform maps and the positional maps of each text, [head, query, key]."""
    sinks = KeepMaps(), KeepMaps()
    kind, layer = rows[0].kind, rows[0].layer
    feeders = UniformBaseline(sinks[0], {(kind, layer): tuple(range(len(maps[0].weights)))}), PositionBaseline(sinks[1])
    for feeder in feeders:
        for each in rows:
            feeder.add(each)
        feeder.end_layer(kind, layer)
    uniform, positional = ([a.layers[0].weights for a in sink.result(inputs(maps))] for sink in sinks)
    return uniform, positional


@given(batches(), st.integers(0, 2), st.integers(1, 13), st.booleans())
def test_both_baselines_are_those_of_loops_however_the_stream_is_split(
    made: tuple[Kind, list[Map]], padding: int, cut: int, left: bool
) -> None:
    kind, maps = made
    whole = block(maps, kind, padding=(padding, padding), left=left)
    n, heads = whole.weights.shape[2], len(maps[0].weights)
    rows = [part(whole, at, min(at + cut, n), [head]) for head in range(heads) for at in range(0, n, cut)][::-1]
    uniform, positional = baselines(rows, maps)
    for one, even, by_offset in zip(maps, uniform, positional, strict=True):
        visible = one.visible.numpy()
        counts = visible.sum(1, keepdims=True)
        with np.errstate(invalid="ignore"):
            expected = np.where(counts > 0, visible / counts, np.nan)
        assert even.shape[0] == 1
        assert even[0] == pytest.approx(expected, abs=1e-7, nan_ok=True)
        for head in range(heads):
            expected = naive_positional(one.weights[head].double().numpy(), visible)
            assert by_offset[head] == pytest.approx(expected, abs=2e-6, nan_ok=True)


@pytest.mark.parametrize("rule", ["all", "causal", "sliding"])
def test_blocks_without_padding_have_the_same_sums(rule: str) -> None:
    made = random_map(1, 3, 11, 11, rule)
    rows = block([made], "decoder")
    known = []
    for first in range(0, 11, 4):
        piece = part(rows, first, min(first + 4, 11))
        slices = slice(first, min(first + 4, 11)), slice(0, 11)
        known.append(replace(piece, visibility=replace(piece.visibility, slices=slices)))
    for one, other in zip(baselines([rows], [made]), baselines(known, [made]), strict=True):
        assert one[0] == pytest.approx(other[0], abs=1e-6)


def test_the_baseline_of_a_previous_token_head_by_hand() -> None:
    made = by_hand([[1, 0, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]], causal(4))
    _, ((found,),) = baselines([block([made], "decoder")], [made])
    # the first row sees itself alone, where no other row looks: p(0) is 1/4 of it
    assert found == pytest.approx(np.array([[1, 0, 0, 0], [0.8, 0.2, 0, 0], [0, 0.8, 0.2, 0], [0, 0, 0.8, 0.2]]))


def test_heads_with_different_masks_have_their_own_baselines() -> None:
    made = random_map(2, 2, 6, 6)
    visible = torch.stack([torch.ones(6, 6, dtype=torch.bool).tril(), torch.ones(6, 6, dtype=torch.bool)])[None]
    rows = with_visible(block([made]), visible)
    uniform, positional = baselines([rows], [made])
    assert uniform[0].shape == (2, 6, 6)
    assert uniform[0][0, 2] == pytest.approx([1 / 3] * 3 + [0] * 3)
    assert uniform[0][1, 2] == pytest.approx([1 / 6] * 6)
    assert positional[0][0] == pytest.approx(
        naive_positional(made.weights[0].numpy().astype(float), visible[0, 0].numpy()), abs=1e-6
    )


def test_layers_with_gaps_in_the_visible_keys_are_left_out() -> None:
    made = random_map(2, 2, 6, 6)
    visible = torch.ones(1, 1, 6, 6, dtype=torch.bool)
    visible[..., 4, 2] = False
    rows = with_visible(replace(block([made]), raw=made.weights[None] * visible), visible)
    uniform, positional = baselines([rows], [made])
    assert uniform[0][0, 4] == pytest.approx([0.2, 0.2, 0, 0.2, 0.2, 0.2])
    assert positional == []


def test_rows_that_are_held_out_teach_nothing_and_are_the_ones_that_are_fed() -> None:
    maps = [random_map(3, 2, 9, 9, "causal"), random_map(4, 2, 9, 9, "causal"), random_map(5, 2, 7, 7, "causal")]
    held_out = {(0, "decoder"): np.array([5, 6]), (2, "decoder"): np.array([6])}
    sink = KeepMaps()
    feeder = PositionBaseline(sink, held_out)  # type: ignore[arg-type]
    rows = block(maps, "decoder", padding=(1, 0))
    for first, last in ((0, 6), (6, 10)):
        feeder.add(part(rows, first, last))
    feeder.end_layer("decoder", 0)
    made = {attention.text: attention.layers[0].weights for attention in sink.result(inputs(maps))}
    assert made.keys() == {0, 2}
    for (text, _), positions in held_out.items():
        for head, weights in enumerate(maps[text].weights.double().numpy()):
            learned = maps[text].visible.numpy().copy()
            learned[positions] = False
            expected = naive_positional(weights, maps[text].visible.numpy(), learned)
            assert made[text][head, positions] == pytest.approx(expected[positions], abs=2e-6)
            others = np.setdiff1d(np.arange(len(weights)), positions)
            assert np.isnan(made[text][head, others]).all()


def test_only_some_rows_are_fed_if_they_are_given() -> None:
    maps = [random_map(6, 2, 11, 11, "sliding"), random_map(7, 2, 8, 8, "causal")]
    chosen: dict[tuple[int, Kind], range] = {(0, "decoder"): range(0, 11, 3), (1, "decoder"): range(0, 8, 2)}
    sink = KeepChosen("query", chosen)
    feeder = PositionBaseline(sink, rows=chosen)
    feeder.add(block(maps, "decoder"))
    feeder.end_layer("decoder", 0)
    for made, attention, step in zip(maps, sink.result(inputs(maps)), (3, 2), strict=True):
        for head, weights in enumerate(made.weights.double().numpy()):
            expected = naive_positional(weights, made.visible.numpy())[::step]
            assert attention.layers[0].weights[head] == pytest.approx(expected, abs=2e-6)


def test_layers_that_share_a_visibility_share_the_sums_of_uniform_rows() -> None:
    made = random_map(8, 2, 9, 9, "causal")
    rows = block([made], "decoder")
    computed = []

    class Adding(KeepMaps):
        def add(self, rows: Rows) -> None:
            computed.append("entropy" in rows.cache)
            rows.cache["entropy"] = 1
            super().add(rows)

    sink = Adding()
    feeder = UniformBaseline(sink, {("decoder", layer): (0, 1) for layer in range(3)})
    for layer in range(3):
        feeder.add(replace(rows, layer=layer))
        feeder.end_layer("decoder", layer)
    assert computed == [False, True, True]
    (attention,) = sink.result(inputs([made]))
    expected = np.tril(np.ones((9, 9))) / np.arange(1, 10)[:, None]
    assert [maps.layer for maps in attention.layers] == [0, 1, 2]
    for maps in attention.layers:
        assert maps.heads == (0,)
        assert maps.weights[0] == pytest.approx(expected, abs=1e-7)


def naive_of_other_texts(maps: list[Map], head: int, left_out: int) -> Array:
    """Return the rows of one text by the mean weights of all others at each offset."""
    found: dict[int, list[float]] = {}
    for text, other in enumerate(maps):
        for i, j in np.argwhere(other.visible.numpy()) if text != left_out else ():
            found.setdefault(j - i, []).append(float(other.weights[head, i, j]))
    visible = maps[left_out].visible.numpy()
    made = np.full(visible.shape, np.nan)
    for i, seen in enumerate(visible):
        weights = np.array([np.mean(found.get(j - i, [0.0])) if seen[j] else 0.0 for j in range(len(seen))])
        if seen.any():
            made[i] = weights / weights.sum() if weights.sum() > 0 else seen / seen.sum()
    return made


@given(batches(), st.integers(0, 2), st.booleans())
def test_a_text_is_explained_by_the_others_alone(made: tuple[Kind, list[Map]], padding: int, left: bool) -> None:
    kind, maps = made
    heads, sink = len(maps[0].weights), KeepMaps()
    feeder = OtherTextsBaseline(sink)
    batch = block(maps, kind, padding=(padding, padding), left=left)
    for head in range(heads):
        feeder.add(part(batch, 0, batch.weights.shape[2], [head]))
    feeder.end_layer(kind, 0)
    feeder.feed()
    found = [attention.layers[0].weights for attention in sink.result(inputs(maps))]
    assert len(found) == (0 if len(maps) == 1 else len(maps))
    for text, weights in enumerate(found):
        for head in range(heads):
            assert weights[head] == pytest.approx(naive_of_other_texts(maps, head, text), abs=2e-6, nan_ok=True)


def test_the_order_of_texts_and_batches_does_not_change_the_baseline_of_other_texts() -> None:
    maps = [random_map(seed, 2, 5 + seed, 5 + seed, "causal") for seed in range(3)]
    found = []
    for groups in ([[0, 1, 2]], [[2], [0, 1]]):
        sink = KeepMaps()
        feeder = OtherTextsBaseline(sink)
        for group in groups:
            rows = block([maps[text] for text in group], "decoder")
            feeder.add(replace(rows, texts=tuple(group)))
            feeder.end_layer("decoder", 0)
        feeder.feed()
        found.append([attention.layers[0].weights for attention in sink.result(inputs(maps))])
    for one, other in zip(*found, strict=True):
        assert one == pytest.approx(other, abs=1e-6, nan_ok=True)
