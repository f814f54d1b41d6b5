"""Sums of weights by offset: against loops over maps, for all masks and blocks that models have."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from made_rows import Map, block, of_keys, part, random_map, with_visible
from naive_attention import Array

from attncli.data import Rows
from attncli.stream.diagonals import sums_by_offset, visible_ranges
from attncli.stream.rigidity import RigiditySink


def naive_sums(weights: Array, visible: Array) -> tuple[list[float], list[int]]:
    """Return the mass of each offset from that of the last query to key 0, and the number of its visible pairs."""
    n, m = visible.shape
    offsets = range(1 - n, m)
    mass = [float(np.where(visible, weights, 0).diagonal(offset).sum()) for offset in offsets]
    return mass, [int(visible.diagonal(offset).sum()) for offset in offsets]


def strips(rows: Rows, count: int) -> list[Rows]:
    """Return blocks of some rows as capture makes them: the keys that any row sees, with positions as slices."""
    blocks, total = [], rows.raw.shape[2]
    for first in range(0, total, count):
        piece = part(rows, first, min(first + count, total))
        seen = torch.nonzero(piece.visible_pairs.flatten(0, 2).any(0)).flatten()
        keys = slice(int(seen[0]), int(seen[-1]) + 1)
        piece = of_keys(piece, keys)
        slices = slice(first, min(first + count, total)), keys
        blocks.append(replace(piece, visibility=replace(piece.visibility, slices=slices)))
    return blocks


def total_sums(blocks: list[Rows]) -> dict[str, Array]:
    found = [{name: values.numpy() for name, values in sums_by_offset(rows).items()} for rows in blocks]
    return {name: np.sum([of_block[name] for of_block in found], axis=0) for name in ("mass", "visible_rows")}


@pytest.mark.parametrize("rule", ["all", "causal", "sliding", "chunked"])
@pytest.mark.parametrize("tokens", [9, 150])
def test_the_sums_of_blocks_are_those_of_loops(rule: str, tokens: int) -> None:
    made = random_map(1, 2, tokens, tokens, rule)
    rows = block([made], "decoder")
    for blocks in ([rows], strips(rows, 4 if tokens < 99 else 140)):
        found = total_sums(blocks)
        for head, weights in enumerate(made.weights.double().numpy()):
            mass, count = naive_sums(weights, made.visible.numpy())
            assert found["mass"][0, head] == pytest.approx(mass, rel=1e-6, abs=1e-5)
            assert found["visible_rows"][0, head].tolist() == count


def test_heads_with_masks_of_their_own_and_gaps_in_their_keys() -> None:
    """The second head sees the last tokens and a global one, as in Longformer."""
    n = 12
    i, j = torch.arange(n)[:, None], torch.arange(n)
    masks = torch.stack([j <= i, (i - j).abs() < 2, ((i - j).abs() < 2) | (j == 0)])
    weights = torch.rand(3, n, n, generator=torch.Generator().manual_seed(0)) * masks
    made = Map(weights, masks[0], torch.zeros(n, dtype=torch.bool))
    rows = with_visible(block([made], "encoder"), masks[None])
    for blocks in ([rows], strips(rows, 5)):
        found = total_sums(blocks)
        for head in range(3):
            mass, count = naive_sums(weights[head].double().numpy(), masks[head].numpy())
            assert found["mass"][0, head] == pytest.approx(mass, abs=1e-6)
            assert found["visible_rows"][0, head].tolist() == count
        ranges = [visible_ranges(one) for one in blocks]
        start, stop, gaps = (sum(one[name] for one in ranges)[0].tolist() for name in ("start", "stop", "gaps"))
        for head, mask in enumerate(masks):
            keys = [np.flatnonzero(row) for row in mask.numpy()]
            assert start[head] == [row[0] for row in keys]
            assert stop[head] == [row[-1] + 1 for row in keys]
        assert gaps == [0, 0, n - 3]


def test_rigidity_of_strips_is_that_of_whole_blocks() -> None:
    """Strips have the keys that they see, as in a model; blocks of whole texts are tested against a dense fit."""
    maps = [random_map(seed, 2, n, n, "sliding") for seed, n in enumerate((14, 20, 17))]
    found = []
    for count in (99, 6):
        sink = RigiditySink()
        for number, made in enumerate(maps):
            rows = block([made], "decoder", texts=[number])
            for one in [rows] if count == 99 else strips(rows, count):
                sink.add(one)
            sink.end_layer("decoder", 0)
        found.append(sink.result().values)
    assert np.ptp(found[0]) > 0.01
    assert found[0] == pytest.approx(found[1], abs=1e-6)
