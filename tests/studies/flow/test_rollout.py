"""Rollout against plain loops and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from attncli.data import Array
from attncli.studies.flow import layer_steps
from attncli.studies.flow import rollout as rollout_module
from attncli.studies.flow.rollout import Rollout


def rollout_of(maps: list[Array], residual: bool = True) -> Array:
    rollout = Rollout(residual)
    for weights in maps:
        rollout.add("encoder", weights)
    return rollout.of("encoder")


def random_maps(seed: int, layers: int, n: int, m: int | None = None, causal: bool = False) -> list[Array]:
    maps = np.random.default_rng(seed).dirichlet(np.full(m or n, 0.4), (layers, n))
    if causal:
        maps = np.tril(maps)
        maps /= maps.sum(-1, keepdims=True)
    return list(maps)


def by_loops(maps: list[Array], residual: bool) -> list[list[float]]:
    """Return the product of the layers, computed by loops over tokens."""
    n = len(maps[0])
    shares = [[float(i == j) for j in range(n)] for i in range(n)]
    for weights in maps:
        step = []
        for i in range(n):
            row = [float(weights[i, j]) + (1.0 if residual and i == j else 0.0) for j in range(n)]
            step.append([value / sum(row) for value in row])
        shares = [[sum(step[i][k] * shares[k][j] for k in range(n)) for j in range(n)] for i in range(n)]
    return shares


@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(1, 7), st.booleans(), st.booleans())
def test_it_is_the_product_of_the_layers(seed: int, layers: int, n: int, causal: bool, residual: bool) -> None:
    maps = random_maps(seed, layers, n, causal=causal)
    shares = rollout_of(maps, residual)
    assert_allclose(shares, by_loops(maps, residual), atol=1e-12)
    assert_allclose(shares.sum(1), 1, atol=1e-12)
    if causal:
        assert not np.triu(shares, 1).any()


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("residual", [True, False])
def test_products_in_blocks_are_those_of_whole_maps(
    causal: bool, residual: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollout_module, "BLOCK", 5)
    maps = random_maps(3, 3, 23, causal=causal)
    maps[1][7] = 0
    uniform = [np.tri(23) / np.arange(1, 24)[:, None]] * 3
    monkeypatch.setattr(layer_steps, "ROWS", 4)
    for layers in (maps, uniform, [maps[0], uniform[0], maps[2]]):
        steps = [weights + residual * np.eye(23) for weights in layers]
        steps = [step / np.where(step.any(1), step.sum(1), 1)[:, None] for step in steps]
        exact = steps[2] @ steps[1] @ steps[0]
        assert_allclose(rollout_of(layers, residual), exact, atol=1e-14)
    monkeypatch.setattr(rollout_module, "LONG", 8)
    assert_allclose(rollout_of(layers, residual), exact, rtol=1e-6, atol=1e-12)


def test_with_uniform_attention_a_token_keeps_a_half_of_itself_in_each_layer() -> None:
    n, layers = 4, 3
    shares = rollout_of([np.full((n, n), 1 / n)] * layers)
    kept = 0.5**layers
    assert_allclose(shares, kept * np.eye(n) + (1 - kept) / n, atol=1e-15)
    assert_allclose(rollout_of([np.full((n, n), 1 / n)] * layers, residual=False), 1 / n)


def test_tokens_that_attend_to_themselves_do_not_mix() -> None:
    assert_allclose(rollout_of([np.eye(5)] * 7), np.eye(5))


def test_a_chain_of_one_hot_heads_leads_to_its_end() -> None:
    steps = [np.eye(4)[[1, 2, 3, 0]], np.eye(4)[[2, 2, 0, 1]]]
    assert_allclose(rollout_of(steps, residual=False), np.eye(4)[[3, 3, 1, 2]])


def test_shares_under_previous_token_attention_are_binomial() -> None:
    back = np.eye(6, k=-1)
    back[0, 0] = 1
    assert_allclose(rollout_of([back] * 4)[5], np.array([0, 1, 4, 6, 4, 1]) / 16)


def cross_by_matrices(stacks: dict[str, list[Array]], residual: bool) -> tuple[Array, Array]:
    """Return the shares (T, S) of target and source, computed with one matrix over both inputs."""
    encoder = np.array(by_loops(stacks["encoder"], residual))
    n, m = stacks["cross"][0].shape
    state = np.hstack([np.eye(n), np.zeros((n, m))])
    for own, cross in zip(stacks["decoder"], stacks["cross"], strict=True):
        step = own + np.eye(n) if residual else own
        state = step / step.sum(1, keepdims=True) @ state
        both = np.hstack([np.eye(n) * residual, cross])
        both /= both.sum(1, keepdims=True)
        state = both @ np.vstack([state, np.hstack([np.zeros((m, n)), encoder])])
    return state[:, :n], state[:, n:]


@pytest.mark.parametrize("residual", [True, False])
def test_shares_of_target_and_source_sum_to_1(residual: bool) -> None:
    stacks = {
        "encoder": random_maps(0, 3, 5),
        "decoder": random_maps(1, 2, 4, causal=True),
        "cross": random_maps(2, 2, 4, 5),
    }
    rollout = Rollout(residual)
    for weights in stacks["encoder"]:
        rollout.add("encoder", weights)
    for own, cross in zip(stacks["decoder"], stacks["cross"], strict=True):
        rollout.add("decoder", own)
        rollout.add("cross", cross)
    target, source = cross_by_matrices(stacks, residual)
    assert_allclose(rollout.of("decoder"), target, atol=1e-14)
    assert_allclose(rollout.of("cross"), source, atol=1e-14)
    assert_allclose(target.sum(1) + source.sum(1), 1)
    assert_allclose(target.sum(1), 0.25 if residual else 0, atol=1e-14)
