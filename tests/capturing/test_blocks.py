"""Blocks of rows of any size give the weights and output of the plain formula."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from attncli.capturing import blocks
from attncli.capturing.attention_call import AttentionCall
from attncli.capturing.blocks import Block, Scratch, attend

BATCH, HEADS, GROUPS, QUERIES, KEYS, DIM = 2, 4, 2, 7, 9, 5


def make_call(**changes: Any) -> AttentionCall:
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    parts: dict[str, Any] = {
        "query": random(BATCH, HEADS, QUERIES, DIM),
        "key": random(BATCH, GROUPS, KEYS, DIM),
        "value": random(BATCH, GROUPS, KEYS, DIM + 1),
        "mask": None,
        "bias": None,
        "scale": 0.7,
        "softcap": None,
        "sinks": None,
    }
    return AttentionCall(**{**parts, **changes})


def naive(call: AttentionCall) -> tuple[np.ndarray, np.ndarray]:
    """Weights and output by loops over every number, in double precision."""
    query, key, value = (part.double().numpy() for part in (call.query, call.key, call.value))
    repeat = HEADS // GROUPS
    weights = np.zeros((BATCH, HEADS, QUERIES, KEYS))
    for b, h, i in np.ndindex(BATCH, HEADS, QUERIES):
        scores = []
        for j in range(KEYS):
            score = call.scale * sum(query[b, h, i, d] * key[b, h // repeat, j, d] for d in range(DIM))
            if call.softcap is not None:
                score = call.softcap * math.tanh(score / call.softcap)
            if call.bias is not None:
                score += float(call.bias[0, h, i, j])
            if call.mask is not None:
                cell = call.mask[b, 0, i, j]
                score = (score if bool(cell) else -1e30) if call.mask.dtype == torch.bool else score + float(cell)
            if call.causal and j > i:
                score = -1e30
            scores.append(score)
        extra = [] if call.sinks is None else [float(call.sinks[h])]
        top = max(scores + extra)
        total = sum(math.exp(score - top) for score in scores + extra)
        weights[b, h, i] = [math.exp(score - top) / total for score in scores]
    output = np.einsum("bhij,bhjd->bhid", weights, np.repeat(value, repeat, axis=1))
    return weights, output


MASK = torch.rand(BATCH, 1, QUERIES, KEYS, generator=torch.Generator().manual_seed(1)) > 0.3
MASK[..., 0] = True
CALLS = {
    "grouped queries": make_call(),
    "float mask": make_call(mask=torch.where(MASK, 0.0, torch.finfo(torch.float32).min)),
    "bool mask": make_call(mask=MASK),
    "bias and mask": make_call(
        bias=torch.randn(1, HEADS, QUERIES, KEYS), mask=torch.where(MASK, 0.0, torch.finfo(torch.float32).min)
    ),
    "soft cap": make_call(softcap=0.5),
    "sinks": make_call(sinks=torch.tensor([0.1, 2.0, -1.0, 5.0])),
    "causal": make_call(causal=True),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize(("rows", "cells"), [(1, 1), (2, 40), (3, 1 << 20), (128, 1 << 20)])
def test_weights_and_output_are_those_of_the_naive_loops(
    name: str, rows: int, cells: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "ROWS", rows)
    monkeypatch.setattr(blocks, "CELLS", {"cpu": cells})
    call, visited = CALLS[name], list[Block]()
    output = attend(call, keep(visited))
    weights, expected = naive(call)
    streamed = np.full(weights.shape, np.nan)
    for block in visited:
        index = (slice(None), block.heads, block.strip.rows)
        assert np.isnan(streamed[index]).all(), "each row of each head comes once"
        streamed[index] = 0
        streamed[*index, block.strip.keys] = weights_of(block).numpy()
    np.testing.assert_allclose(streamed, weights, atol=1e-6)
    np.testing.assert_allclose(output.numpy(), expected, atol=1e-5)


def keep(visited: list[Block]) -> Callable[[Block], None]:
    """A visitor that stores copies of the blocks, since the next block overwrites the last."""
    return lambda block: visited.append(replace(block, raw=block.raw.clone(), scores=_copied(block.scores)))


def _copied(scores: torch.Tensor | None) -> torch.Tensor | None:
    return None if scores is None else scores.clone()


def weights_of(block: Block) -> torch.Tensor:
    assert block.scale is not None
    return block.raw * block.scale[..., None]


@pytest.mark.parametrize("name", CALLS)
def test_weights_are_the_exponential_of_the_scores_and_the_factor_is_the_largest(name: str) -> None:
    visited: list[Block] = []
    attend(CALLS[name], keep(visited))
    for block in visited:
        assert block.scores is not None
        assert block.scale is not None
        assert block.scores.max() <= 0
        assert block.scores.min() >= blocks.LEAST_SCORE
        torch.testing.assert_close(block.scores.exp()[block.raw > 0], block.raw[block.raw > 0])
        torch.testing.assert_close(block.scale, weights_of(block).amax(-1))


def test_scores_far_below_the_largest_give_weights_near_0() -> None:
    far = make_call(query=make_call().query * 1000)
    visited: list[Block] = []
    attend(far, keep(visited))
    assert torch.isfinite(weights_of(visited[0])).all()
    np.testing.assert_allclose(weights_of(visited[0]).numpy(), naive(far)[0], atol=1e-6)


@pytest.mark.parametrize("factor", [1, 2, 3, 10, 1000])
@pytest.mark.parametrize("name", ["grouped queries", "soft cap", "sinks", "causal", "bool mask"])
def test_scores_are_clamped_unless_all_are_close(name: str, factor: float) -> None:
    call = replace(CALLS[name], query=CALLS[name].query * factor)
    key = call.key.repeat_interleave(HEADS // GROUPS, dim=1)
    scores = call.query @ key.transpose(2, 3) * call.scale
    range_of_scores = float((scores.amax(-1) - scores.amin(-1)).max())
    assert call.scores_are_close == (factor < 10)
    assert range_of_scores < 80 or not call.scores_are_close
    visited: list[Block] = []
    output = attend(call, keep(visited))
    weights, expected = naive(call)
    np.testing.assert_allclose(weights_of(visited[0]).numpy(), weights[..., visited[0].strip.keys], atol=1e-6)
    np.testing.assert_allclose(output.numpy(), expected, atol=1e-5)


@pytest.mark.parametrize(("distance", "close"), [(79.9, True), (80.1, False)])
def test_scores_of_opposite_keys_reach_the_bound(distance: float, close: bool) -> None:
    keys = torch.tensor([1.0, -1.0]).view(1, 1, 2, 1)
    call = AttentionCall(keys * distance, keys, keys, mask=None, bias=None, scale=0.5, softcap=None, sinks=None)
    assert call.scores_are_close == close
    visited: list[Block] = []
    attend(replace(call, query=call.query * 95 / distance), keep(visited))
    assert visited[0].raw.min() == torch.tensor(blocks.LEAST_SCORE).exp(), "subnormal numbers are slow"


@pytest.mark.parametrize("name", ["float mask", "bias and mask"])
def test_scores_with_added_terms_never_count_as_close(name: str) -> None:
    assert not CALLS[name].scores_are_close


def test_calls_that_share_scratch_memory_do_not_change_each_other() -> None:
    scratch = Scratch()
    half = make_call(**{part: getattr(make_call(), part).bfloat16() for part in ("query", "key", "value")})
    small = replace(CALLS["causal"], **{part: getattr(CALLS["causal"], part)[:1, :, :4] for part in ("query", "key")})
    small = replace(small, value=CALLS["causal"].value[:1, :, :4])
    calls = [small, CALLS["causal"], half, CALLS["bool mask"], small]
    shared = [attend(call, lambda _: None, scratch) for call in calls]
    for call, output in zip(calls, shared, strict=True):
        assert torch.equal(output, attend(call, lambda _: None))


def test_blocks_of_causal_rows_end_with_the_last_visible_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "ROWS", 2)
    visited: list[Block] = []
    attend(CALLS["causal"], keep(visited))
    assert [block.strip.keys for block in visited] == [slice(0, 2), slice(0, 4), slice(0, 6), slice(0, 7)]


def test_heads_are_split_in_no_more_than_two_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "ROWS", 3)
    generator = torch.Generator().manual_seed(0)
    parts = {name: torch.randn(1, 12, 40, 4, generator=generator) for name in ("query", "key", "value")}
    for cells in (100, 200, 400, 800, 1600):
        monkeypatch.setattr(blocks, "CELLS", {"cpu": cells})
        visited: list[Block] = []
        attend(
            AttentionCall(**parts, mask=None, bias=None, scale=1, softcap=None, sinks=None, causal=True), keep(visited)
        )
        assert len({block.heads.stop - block.heads.start for block in visited}) <= 2


@pytest.mark.parametrize("name", ["float mask", "bool mask", "bias and mask"])
def test_visible_keys_are_those_of_the_mask(name: str) -> None:
    visited: list[Block] = []
    attend(CALLS[name], keep(visited))
    assert visited[0].strip.visible is not None
    assert torch.equal(visited[0].strip.visible.expand(BATCH, HEADS, -1, -1), MASK.expand(BATCH, HEADS, -1, -1))


def test_without_a_mask_every_key_is_visible() -> None:
    visited: list[Block] = []
    attend(CALLS["grouped queries"], keep(visited))
    assert visited[0].strip.visible is None


def test_half_precision_rows_are_summed_in_float32() -> None:
    call = make_call()
    half = make_call(**{name: getattr(call, name).bfloat16() for name in ("query", "key", "value")})
    visited: list[Block] = []
    output = attend(half, keep(visited))
    assert output.dtype == torch.bfloat16
    assert visited[0].raw.dtype == torch.float32
    torch.testing.assert_close(weights_of(visited[0]).sum(-1), torch.ones(BATCH, HEADS, QUERIES), atol=1e-6, rtol=0)
