"""Compiled blocks give the weights of the plain formula and the sums of loops; a compiler that fails is named."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch
from capturing.test_blocks import CALLS, keep, naive, weights_of
from torch._inductor import config
from torch._inductor.utils import fresh_cache

from attncli.capturing import blocks, compiled
from attncli.capturing.blocks import Block, attend
from attncli.capturing.compiled import compiled_exp_sums, compiled_softmax, compiler_problem

CPU = torch.device("cpu")


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize(("rows", "cells"), [(3, 40), (128, 1 << 20)])
def test_compiled_weights_output_and_sums_are_those_of_the_naive_loops(
    name: str, rows: int, cells: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "ROWS", rows)
    monkeypatch.setattr(blocks, "CELLS", {"cpu": cells})
    call, visited = CALLS[name], list[Block]()
    with torch.inference_mode():
        output = attend(call, keep(visited), compiled=True)
    weights, expected = naive(call)
    np.testing.assert_allclose(output.numpy(), expected, atol=1e-5)
    for block in visited:
        index = slice(None), block.heads, block.strip.rows, block.strip.keys
        np.testing.assert_allclose(weights_of(block).numpy(), weights[index], atol=1e-6)
        _check_sums(block)


def _check_sums(block: Block) -> None:
    """Compare the sums of each row of a block with loops over its raw weights in double precision."""
    if block.scores is not None:  # a block of one row, which is not compiled
        return
    assert block.sums is not None
    assert block.largest is not None
    raw = block.raw.double().numpy()
    for b, h, i in np.ndindex(raw.shape[:3]):
        total = log = offset = distance = 0.0
        for j, weight in enumerate(raw[b, h, i]):
            steps = block.strip.keys.start + j - block.strip.rows.start - i
            total, offset, distance = total + weight, offset + weight * steps, distance + weight * abs(steps)
            log += weight * math.log(weight) if weight else 0
        found = [getattr(block.sums, name)[b, h, i].item() for name in ("rest", "log", "offset", "distance")]
        np.testing.assert_allclose(found, [total, log, offset, distance], rtol=1e-5, atol=1e-5)
        assert block.sums.before[b, h, i] == 0


@pytest.mark.parametrize("dtype", [pytest.param(torch.float64, marks=pytest.mark.real), torch.bfloat16])
def test_compiled_blocks_of_other_precisions_give_the_output_of_plain_ones(dtype: torch.dtype) -> None:
    causal = CALLS["causal"]
    call = replace(causal, **{name: getattr(causal, name).to(dtype) for name in ("query", "key", "value")})
    with torch.inference_mode():
        plain, of_compiled = (attend(call, lambda _: None, compiled=compiled) for compiled in (False, True))
    torch.testing.assert_close(of_compiled, plain, atol=1e-2 if dtype == torch.bfloat16 else 1e-12, rtol=0)


def test_a_row_without_a_visible_key_and_keys_far_below_the_largest_get_no_weight() -> None:
    scores = torch.tensor([[-1e30] * 4, [0.0, -79.0, -81.0, -1e30]])
    with torch.inference_mode():
        largest, total, log, *_ = compiled_softmax(scores, torch.zeros(2), torch.arange(4.0))
    assert scores[0].tolist() == [0] * 4
    np.testing.assert_allclose(scores[1].numpy(), [1, math.exp(-79), 0, 0], rtol=1e-6)
    assert total.tolist() == [0, 1]
    assert log.isfinite().all()
    assert largest[1] == 0


def test_sums_over_more_keys_than_one_call_reads_are_close() -> None:
    keys = 20_000
    scores = torch.randn(2, keys, generator=torch.Generator().manual_seed(0))
    exact = torch.exp(scores.double() - scores.double().amax(-1, keepdim=True))
    positions = torch.arange(keys, dtype=torch.float32)
    with torch.inference_mode():
        _, total, _, offset, _ = compiled_softmax(scores, positions[:2], positions)
    steps = torch.arange(keys, dtype=torch.float64) - torch.arange(2.0, dtype=torch.float64)[:, None]
    torch.testing.assert_close(total.double(), exact.sum(-1), rtol=2e-6, atol=0)
    torch.testing.assert_close(offset.double(), (exact * steps).sum(-1), rtol=2e-6, atol=0)


def test_a_compiler_that_works_has_no_problem() -> None:
    assert compiler_problem(CPU) == ""


@contextmanager
def _compiled_anew() -> Iterator[None]:
    """Compile without anything that is kept, inside the `with` block."""
    for clear in (torch._dynamo.reset, compiled_exp_sums.cache_clear):
        clear()
    with fresh_cache():
        yield
    for clear in (torch._dynamo.reset, compiled_exp_sums.cache_clear):
        clear()


def test_a_compiler_that_fails_is_named_in_one_line() -> None:
    with _compiled_anew(), config.patch({"cpp.cxx": (None, "/bin/false")}):
        problem = compiler_problem.__wrapped__(CPU)
    assert problem.startswith("the compiler failed (")
    assert "\n" not in problem


def test_a_machine_without_a_compiler_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "_COMPILERS", ("no-such-compiler",))
    assert compiler_problem.__wrapped__(CPU) == "there is no C++ compiler, such as g++"
