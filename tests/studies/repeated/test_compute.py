"""Scores on repeated tokens: exact on constructed maps, for any cut of the stream."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from made_rows import Map, block, part, random_map

from attncli.data import Rows
from attncli.studies.repeated.compute import TARGETS, RepeatedSink, pages, questions
from attncli.studies.repeated.result import ALL_ROWS, SCORES, Repeated

L = 5
N = 2 * L + 1


def scores(rows: list[Rows], start: int = 1, shuffled: list[Rows] | None = None) -> Repeated:
    sinks = [RepeatedSink(start, [L] * len(rows[0].texts)) for _ in range(2)]
    for sink, blocks in zip(sinks, (rows, shuffled or rows), strict=True):
        for rows_block in blocks:
            sink.add(rows_block)
        sink.end_layer(rows[0].kind, 0)
    return sinks[0].result(sinks[1])


def one_hot(offset: int) -> torch.Tensor:
    """Return rows with weight 1 on the key at this offset, or on key 0 if there is none."""
    keys = (torch.arange(N) + offset).clamp_min(0)
    return torch.nn.functional.one_hot(keys, N).float()


def causal_map(*heads: torch.Tensor) -> Map:
    return Map(torch.stack(heads), torch.ones(N, N, dtype=torch.bool).tril(), torch.zeros(N, dtype=torch.bool))


def test_a_head_with_one_target_has_score_1_for_it_only() -> None:
    three_heads = causal_map(one_hot(-1), one_hot(-L), one_hot(1 - L))
    result = scores([block([three_heads], "decoder")])
    for at, name in enumerate(SCORES):
        assert result.heads[name].values.tolist() == np.eye(3)[at].tolist()
        # row 1 of all heads has its weight on key 0, its previous token
        of_all = np.array([N - 1, 1, 1]) if name == "previous" else np.eye(3)[at] * L
        assert result.heads[name + ALL_ROWS].values == pytest.approx(of_all / N)


def test_uniform_heads_have_the_uniform_score() -> None:
    uniform = torch.ones(N, N).tril() / torch.arange(1, N + 1)[:, None]
    result = scores([block([causal_map(uniform)], "decoder")])
    expected = sum(1 / (i + 1) for i in range(L + 1, N)) / L
    for name in SCORES:
        assert result.heads[name].values.tolist() == pytest.approx([expected])
        assert result.baselines["uniform"][name].values.tolist() == pytest.approx([expected])
        first = 1 if name == "previous" else L + 1
        of_all = sum(1 / (i + 1) for i in range(first, N)) / N
        assert result.baselines["uniform"][name + ALL_ROWS].values.tolist() == pytest.approx([of_all])


@pytest.mark.parametrize("start", [0, 1])
@pytest.mark.parametrize("cut", [1, 4, 20])
def test_scores_equal_loops_for_any_cut_of_the_stream(start: int, cut: int) -> None:
    maps = [random_map(seed, 3, N, N) for seed in range(2)]
    whole = block(maps, padding=(2, 1), left=True)
    n = whole.weights.shape[2]
    parts = [part(whole, at, min(at + cut, n), [head]) for head in range(3) for at in range(0, n, cut)]
    result = scores(parts[::-1], start)
    for name, target in TARGETS.items():
        rows = range(start + L, start + 2 * L)
        offset = int(target(torch.tensor(L)))
        by_text = np.array([[np.mean([m.weights[h, i, i + offset] for i in rows]) for h in range(3)] for m in maps])
        assert result.heads[name].values == pytest.approx(by_text.mean(0), abs=1e-6)
        assert result.std[name].values == pytest.approx(by_text.std(0), abs=1e-6)
        rows = range(1, N) if name == "previous" else rows
        of_all = np.array([[sum(m.weights[h, i, i + offset] for i in rows) / N for h in range(3)] for m in maps])
        assert result.heads[name + ALL_ROWS].values == pytest.approx(of_all.mean(0), abs=1e-6)
    assert result.heads["induction"].coords["texts"][1].tolist() == [2, 2, 2]
    assert result.heads["induction"].coords["queries"][1].tolist() == [2 * N] * 3


def test_each_passage_has_its_own_length() -> None:
    maps = [random_map(seed, 2, 1 + 2 * length, 1 + 2 * length) for seed, length in enumerate((3, 5))]
    sinks = [RepeatedSink(1, (3, 5)) for _ in range(2)]
    for sink in sinks:
        sink.add(block(maps))
        sink.end_layer("encoder", 0)
    result = sinks[0].result(sinks[1])
    for name, target in TARGETS.items():
        expected = [
            [
                np.mean([m.weights[h, i, i + int(target(torch.tensor(n)))] for i in range(1 + n, 1 + 2 * n)])
                for h in (0, 1)
            ]
            for m, n in zip(maps, (3, 5), strict=True)
        ]
        assert result.heads[name].values == pytest.approx(np.mean(expected, 0), abs=1e-6)
    assert (result.length, result.lengths) == (None, (3, 5))


def test_the_shuffled_baseline_comes_from_the_other_stream() -> None:
    own, other = causal_map(one_hot(1 - L)), causal_map(one_hot(-1))
    result = scores([block([own], "decoder")], shuffled=[block([other], "decoder")])
    assert result.heads["induction"].values.tolist() == [1.0]
    assert result.baselines["shuffled"]["induction"].values.tolist() == [0.0]
    assert result.baselines["shuffled"]["previous"].values.tolist() == [1.0]
    assert result.std == {}


def test_each_score_has_a_page() -> None:
    assert tuple(TARGETS) == SCORES
    for name, page in pages().items():
        assert questions()[name].endswith("?")
        assert all(re.search(rf"^{word} ", page, re.MULTILINE) for word in ("Formula", "Unit", "Baseline", "Source"))
