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
from attncli.stream import KeepMaps
from attncli.stream.position_baseline import PositionBaseline


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
    feeder = PositionBaseline(*sinks)
    for each in rows:
        feeder.add(each)
    feeder.end_layer(rows[0].kind, rows[0].layer)
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
    assert baselines([rows], [made]) == ([], [])


def test_rows_that_are_held_out_teach_nothing_and_are_the_ones_that_are_fed() -> None:
    maps = [random_map(3, 2, 9, 9, "causal"), random_map(4, 2, 9, 9, "causal"), random_map(5, 2, 7, 7, "causal")]
    held_out = {(0, "decoder"): np.array([5, 6]), (2, "decoder"): np.array([6])}
    sink = KeepMaps()
    feeder = PositionBaseline(None, sink, held_out)  # type: ignore[arg-type]
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
