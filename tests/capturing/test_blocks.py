"""Blocks of rows give the weights and output of the plain formula, whatever their size."""

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


def _call(**changes: Any) -> AttentionCall:
    make = torch.Generator().manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=make)

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


def _naive(call: AttentionCall) -> tuple[np.ndarray, np.ndarray]:
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
                at = call.mask[b, 0, i, j]
                score = (score if bool(at) else -1e30) if call.mask.dtype == torch.bool else score + float(at)
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
    "grouped queries": _call(),
    "float mask": _call(mask=torch.where(MASK, 0.0, torch.finfo(torch.float32).min)),
    "bool mask": _call(mask=MASK),
    "bias and mask": _call(
        bias=torch.randn(1, HEADS, QUERIES, KEYS), mask=torch.where(MASK, 0.0, torch.finfo(torch.float32).min)
    ),
    "soft cap": _call(softcap=0.5),
    "sinks": _call(sinks=torch.tensor([0.1, 2.0, -1.0, 5.0])),
    "causal": _call(causal=True),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize(("rows", "cells"), [(1, 1), (2, 40), (3, 1 << 20), (128, 1 << 20)])
def test_weights_and_output_are_those_of_the_naive_loops(
    name: str, rows: int, cells: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "ROWS", rows)
    monkeypatch.setattr(blocks, "CELLS", {"cpu": cells})
    call, seen = CALLS[name], list[Block]()
    output = attend(call, keep(seen))
    weights, expected = _naive(call)
    found = np.full(weights.shape, np.nan)
    for block in seen:
        place = (slice(None), block.heads, block.strip.rows)
        assert np.isnan(found[place]).all(), "each row of each head comes once"
        found[place] = 0
        found[*place, block.strip.keys] = _weights(block).numpy()
    np.testing.assert_allclose(found, weights, atol=1e-6)
    np.testing.assert_allclose(output.numpy(), expected, atol=1e-5)


def keep(seen: list[Block]) -> Callable[[Block], None]:
    """Copies, since the next block takes the memory of the last."""
    return lambda block: seen.append(replace(block, raw=block.raw.clone(), scores=_copied(block.scores)))


def _copied(scores: torch.Tensor | None) -> torch.Tensor | None:
    return None if scores is None else scores.clone()


def _weights(block: Block) -> torch.Tensor:
    assert block.scale is not None
    return block.raw * block.scale[..., None]


@pytest.mark.parametrize("name", CALLS)
def test_weights_are_the_exponential_of_the_scores_and_the_factor_is_the_largest(name: str) -> None:
    seen: list[Block] = []
    attend(CALLS[name], keep(seen))
    for block in seen:
        assert block.scores is not None
        assert block.scale is not None
        assert block.scores.max() <= 0
        assert block.scores.min() >= blocks.LEAST_SCORE
        torch.testing.assert_close(block.scores.exp()[block.raw > 0], block.raw[block.raw > 0])
        torch.testing.assert_close(block.scale, _weights(block).amax(-1))


def test_scores_far_below_the_largest_give_weights_that_do_not_matter() -> None:
    far = _call(query=_call().query * 1000)
    seen: list[Block] = []
    attend(far, keep(seen))
    assert torch.isfinite(_weights(seen[0])).all()
    np.testing.assert_allclose(_weights(seen[0]).numpy(), _naive(far)[0], atol=1e-6)


@pytest.mark.parametrize("longer", [1, 2, 3, 10, 1000])
@pytest.mark.parametrize("name", ["grouped queries", "soft cap", "sinks", "causal", "bool mask"])
def test_only_where_no_score_can_be_far_below_another_none_is_looked_at(name: str, longer: float) -> None:
    call = replace(CALLS[name], query=CALLS[name].query * longer)
    key = call.key.repeat_interleave(HEADS // GROUPS, dim=1)
    scores = call.query @ key.transpose(2, 3) * call.scale
    apart = float((scores.amax(-1) - scores.amin(-1)).max())
    assert call.scores_are_close == (longer < 10)
    assert apart < 80 or not call.scores_are_close
    seen: list[Block] = []
    output = attend(call, keep(seen))
    weights, expected = _naive(call)
    np.testing.assert_allclose(_weights(seen[0]).numpy(), weights[..., seen[0].strip.keys], atol=1e-6)
    np.testing.assert_allclose(output.numpy(), expected, atol=1e-5)


@pytest.mark.parametrize(("apart", "shallow"), [(79.9, True), (80.1, False)])
def test_opposite_keys_are_as_far_apart_as_their_lengths_allow(apart: float, shallow: bool) -> None:
    keys = torch.tensor([1.0, -1.0]).view(1, 1, 2, 1)
    call = AttentionCall(keys * apart, keys, keys, mask=None, bias=None, scale=0.5, softcap=None, sinks=None)
    assert call.scores_are_close == shallow
    seen: list[Block] = []
    attend(replace(call, query=call.query * 95 / apart), keep(seen))
    assert seen[0].raw.min() == torch.tensor(blocks.LEAST_SCORE).exp(), "subnormal numbers are slow"


@pytest.mark.parametrize("name", ["float mask", "bias and mask"])
def test_what_is_added_to_scores_may_put_them_far_apart(name: str) -> None:
    assert not CALLS[name].scores_are_close


def test_calls_that_share_their_memory_do_not_disturb_each_other() -> None:
    memory = Scratch()
    half = _call(**{part: getattr(_call(), part).bfloat16() for part in ("query", "key", "value")})
    small = replace(CALLS["causal"], **{part: getattr(CALLS["causal"], part)[:1, :, :4] for part in ("query", "key")})
    small = replace(small, value=CALLS["causal"].value[:1, :, :4])
    calls = [small, CALLS["causal"], half, CALLS["bool mask"], small]
    shared = [attend(call, lambda _: None, memory) for call in calls]
    for call, output in zip(calls, shared, strict=True):
        assert torch.equal(output, attend(call, lambda _: None))


def test_causal_rows_come_without_the_keys_after_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "ROWS", 2)
    seen: list[Block] = []
    attend(CALLS["causal"], keep(seen))
    assert [block.strip.keys for block in seen] == [slice(0, 2), slice(0, 4), slice(0, 6), slice(0, 7)]


def test_heads_are_split_in_no_more_than_two_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "ROWS", 3)
    make = torch.Generator().manual_seed(0)
    parts = {name: torch.randn(1, 12, 40, 4, generator=make) for name in ("query", "key", "value")}
    for cells in (100, 200, 400, 800, 1600):
        monkeypatch.setattr(blocks, "CELLS", {"cpu": cells})
        seen: list[Block] = []
        attend(AttentionCall(**parts, mask=None, bias=None, scale=1, softcap=None, sinks=None, causal=True), keep(seen))
        assert len({block.heads.stop - block.heads.start for block in seen}) <= 2


@pytest.mark.parametrize("name", ["float mask", "bool mask", "bias and mask"])
def test_visible_keys_are_those_of_the_mask(name: str) -> None:
    seen: list[Block] = []
    attend(CALLS[name], keep(seen))
    assert seen[0].strip.visible is not None
    assert torch.equal(seen[0].strip.visible.expand(BATCH, HEADS, -1, -1), MASK.expand(BATCH, HEADS, -1, -1))


def test_no_mask_means_that_every_key_is_visible() -> None:
    seen: list[Block] = []
    attend(CALLS["grouped queries"], keep(seen))
    assert seen[0].strip.visible is None


def test_half_precision_rows_are_summed_in_float32() -> None:
    call = _call()
    half = _call(**{name: getattr(call, name).bfloat16() for name in ("query", "key", "value")})
    seen: list[Block] = []
    output = attend(half, keep(seen))
    assert output.dtype == torch.bfloat16
    assert seen[0].raw.dtype == torch.float32
    torch.testing.assert_close(_weights(seen[0]).sum(-1), torch.ones(BATCH, HEADS, QUERIES), atol=1e-6, rtol=0)
