"""The cost of a long text is said before the pass, and only where it was measured."""

from __future__ import annotations

import logging

import pytest

import attncli
from attncli.engine import costs
from attncli.studies.flow.request import rollout_passes
from attncli.studies.flow.study import FlowStudy


def test_a_long_rollout_says_its_cost(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    model = attncli.load("demo:decoder")
    with caplog.at_level(costs.NOTE, logger="attncli"):
        model.study(FlowStudy(), "one two three")
        assert not caplog.messages
        monkeypatch.setattr(costs, "LONG", 2)
        monkeypatch.setattr(costs, "LEAST", 0)
        model.study(FlowStudy(), "one two three")
    assert [record.levelno for record in caplog.records] == [costs.NOTE]
    assert logging.INFO < costs.NOTE < logging.WARNING
    assert caplog.messages[0].startswith("flow takes about 1.")
    assert caplog.messages[0].endswith("times as long as a forward pass on a text of this length, besides its files")


def test_rollouts_of_longer_texts_cost_more_passes() -> None:
    layer = 2 * 3.54e6, 2 * 576  # SmolLM2-135M
    costs_of = [rollout_passes(n, layer[0] * n + layer[1] * n * n, causal=True) for n in (1000, 2000, 4000)]
    assert costs_of == sorted(costs_of)
    assert rollout_passes(4000, 1e11, causal=False) > rollout_passes(4000, 1e11, causal=True)
