"""Similarity of hidden states: against loops and closed forms."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from attncli.studies.heads import similarity
from attncli.studies.heads.compute import _states_after
from attncli.studies.heads.similarity import mean_cosine, rank_one_distance


def test_both_measures_against_loops() -> None:
    states = np.random.default_rng(3).normal(size=(5, 4))
    unit = states / np.linalg.norm(states, axis=1, keepdims=True)
    pairs = [unit[i] @ unit[j] for i in range(5) for j in range(i)]
    assert mean_cosine(torch.from_numpy(states)) == pytest.approx(np.mean(pairs))
    best = np.linalg.lstsq(np.ones((5, 1)), states, rcond=None)[0]
    expected = np.linalg.norm(states - best) / np.linalg.norm(states)
    assert rank_one_distance(torch.from_numpy(states)) == pytest.approx(expected)


@pytest.mark.parametrize("count", [2, 5])
def test_equal_and_orthogonal_states_have_closed_forms(count: int) -> None:
    same, apart = torch.ones(count, 7), torch.eye(count, 7)
    assert (mean_cosine(same), rank_one_distance(same)) == pytest.approx((1, 0))
    assert (mean_cosine(apart), rank_one_distance(apart)) == pytest.approx((0, np.sqrt(1 - 1 / count)))


def test_undefined_values_are_nan() -> None:
    assert np.isnan(mean_cosine(torch.ones(1, 3)))
    assert rank_one_distance(torch.ones(1, 3)) == 0
    assert np.isnan(rank_one_distance(torch.zeros(2, 3)))


def test_texts_are_averaged_layer_by_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [[torch.eye(2), torch.ones(2, 2)], [torch.ones(2, 2), torch.ones(2, 2)]]
    states = [(number, {"encoder": layers}) for number, layers in enumerate(texts)]
    monkeypatch.setattr(similarity, "hidden_states", lambda *arguments: states)
    monkeypatch.setattr(similarity, "tokens_in", lambda batch: 2)
    run = SimpleNamespace(batches=["batch"], loaded=None, plan=None)
    means = similarity.state_numbers([run])["encoder"]  # type: ignore[list-item]
    assert means[0] == pytest.approx([0.5, np.sqrt(0.5) / 2])
    assert means[1] == pytest.approx([1, 0])


def test_missing_layers_and_stacks_are_nan() -> None:
    states = {"encoder": np.array([[0.5, 0.25], [1, 0]])}
    assert _states_after(states, "encoder", -1).tolist() == [0.5, 0.25]
    assert _states_after(states, "encoder", 0).tolist() == [1, 0]
    assert np.isnan(_states_after(states, "encoder", 1)).all()
    assert np.isnan(_states_after(states, "decoder", -1)).all()
