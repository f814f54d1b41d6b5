"""Infidelity and sensitivity: closed forms, and their definitions computed by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import attncli
from attncli.data import Array
from attncli.studies.faithfulness.robustness import compute
from attncli.studies.faithfulness.robustness.compute import infidelity


def additive(weights: Array) -> Any:
    """A text whose score is the sum of the weights of its units."""

    class AdditiveRemover:
        def __init__(self, **fields: Any) -> None:
            pass

        def scores(self, removal: str, removed: Array) -> Array:
            return (~removed).astype(float) @ weights

    return SimpleNamespace(number=0, predictions=None, remover=AdditiveRemover())


def test_the_weights_of_a_sum_have_no_infidelity_on_any_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compute, "replace", lambda remover, **fields: remover)
    weights = np.array([3.0, -1.0, 0.5, 0.0])
    text = additive(weights)
    assert infidelity(text, weights, 0) == pytest.approx(0, abs=1e-12)
    assert infidelity(text, 10 * weights, 0) == pytest.approx(0, abs=1e-12)
    assert infidelity(text, weights[::-1], 0) > 0.5


def test_sensitivity_is_the_largest_relative_change(classifier: attncli.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Array] = []
    values_of = compute.Values.of

    def recorded(values: Any, name: str) -> Any:
        method, numbers = values_of(values, name)
        seen.append(numbers[0])
        return method, numbers

    monkeypatch.setattr(compute.Values, "of", recorded)
    methods = ("input-x-gradient", "attention")
    result = classifier.faithfulness("The chosen lever and soup.", methods, removal="delete", robustness=True)
    robustness: Any = result.parts["robustness"]
    _, _, values, *moved = seen  # values of both methods; then at the text, and at texts with small changes
    changes = [np.linalg.norm(one - values) / np.linalg.norm(values) for one in moved]
    assert len(changes) == compute.NEIGHBOURS
    assert robustness.values[1, 0, 0] == pytest.approx(max(changes), rel=1e-5)
    assert np.isnan(robustness.values[1, 1, 0])
    assert robustness.notes == ("no sensitivity of attention: these values come from attention, not from vectors",)
