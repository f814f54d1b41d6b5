"""Blocks of rows give the weights and output of the plain formula, whatever their size."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from attncli.capturing import blocks
from attncli.capturing.blocks import AttentionCall, Block, attend

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
@pytest.mark.parametrize("cells", [1, 100, 1 << 20])
def test_weights_and_output_are_those_of_the_naive_loops(
    name: str, cells: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "BLOCK_CELLS", cells)
    call, seen = CALLS[name], list[Block]()
    output = attend(call, seen.append)
    weights, expected = _naive(call)
    assert len(seen) == (1 if cells > 1000 else QUERIES)
    assert [block.first for block in seen] == list(np.cumsum([0] + [b.weights.shape[2] for b in seen[:-1]]))
    np.testing.assert_allclose(torch.cat([b.weights for b in seen], 2).numpy(), weights, atol=1e-6)
    np.testing.assert_allclose(output.numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("name", ["float mask", "bool mask", "bias and mask"])
def test_visible_keys_are_those_of_the_mask(name: str) -> None:
    seen: list[Block] = []
    attend(CALLS[name], seen.append)
    assert seen[0].visible is not None
    assert torch.equal(seen[0].visible.expand(BATCH, HEADS, -1, -1), MASK.expand(BATCH, HEADS, -1, -1))


def test_no_mask_means_that_every_key_is_visible() -> None:
    seen: list[Block] = []
    attend(CALLS["grouped queries"], seen.append)
    assert seen[0].visible is None


def test_half_precision_rows_are_summed_in_float32() -> None:
    call = _call()
    half = _call(**{name: getattr(call, name).bfloat16() for name in ("query", "key", "value")})
    seen: list[Block] = []
    output = attend(half, seen.append)
    assert output.dtype == torch.bfloat16
    assert seen[0].weights.dtype == torch.float32
    torch.testing.assert_close(seen[0].weights.sum(-1), torch.ones(BATCH, HEADS, QUERIES), atol=1e-6, rtol=0)
