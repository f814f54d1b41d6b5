"""How similar the hidden states of the tokens of a layer are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from attncli.capturing.capture import hidden_states
from attncli.data import Array, Kind
from attncli.engine.passes import Pass
from attncli.engine.progress import Track, tokens_in, untracked
from attncli.stream.sums import Moments

Tensor = torch.Tensor


class StateNumbers:
    """Means over texts of `mean_cosine` and `rank_one_distance` of the hidden states of one stack."""

    def __init__(self) -> None:
        self._moments: Moments | None = None

    def add(self, states: Sequence[Tensor]) -> None:
        """Add the states [token, width] of one text: the input of the first layer, then the output of each layer."""
        numbers = np.array([[mean_cosine(state), rank_one_distance(state)] for state in states])
        if self._moments is None:
            self._moments = Moments(numbers.shape)
        self._moments.add(numbers[None])

    def of(self, layer: int) -> Array:
        """Return cosine and distance of the output of a layer: [2], NaN if it is missing.

        Layer -1 is the input of the first layer.
        """
        if self._moments is None or layer + 1 >= len(self._moments.mean):
            return np.full(2, np.nan)
        numbers: Array = self._moments.mean[layer + 1]
        return numbers


def state_numbers(passes: Sequence[Pass], track: Track = untracked) -> dict[Kind, StateNumbers]:
    """Run the texts of these passes once more, and return how similar the hidden states of each stack are."""
    numbers: dict[Kind, StateNumbers] = {}
    batches = [(prepared, batch) for prepared in passes for batch in prepared.batches]
    with track("hidden states", sum(tokens_in(batch) for _, batch in batches), "tokens") as advance:
        for prepared, batch in batches:
            for _, states in hidden_states(prepared.loaded, prepared.plan, batch):
                for stack, layers in states.items():
                    numbers.setdefault(stack, StateNumbers()).add(layers)
            advance(tokens_in(batch))
    return numbers


def mean_cosine(states: Tensor) -> float:
    """Return the mean cosine between the states [token, width] of two tokens, from -1 to 1; NaN for a single token.

    Formula  mean over pairs i < j of cos(x_i, x_j) = (‖Σ x_i/‖x_i‖‖² - n) / (n (n-1))
    """
    count = len(states)
    if count < 2:
        return float("nan")
    unit = torch.nn.functional.normalize(states.double(), dim=-1)
    return float((unit.sum(0).square().sum() - unit.square().sum()) / (count * (count - 1)))


def rank_one_distance(states: Tensor) -> float:
    """Return how far the states [token, width] are from being equal, from 0 (equal) to 1; NaN if all are 0.

    Formula  ‖X - 1 x̄ᵀ‖ / ‖X‖, Frobenius norms; the mean token x̄ is the vector that makes this smallest
    Source   Dong et al. 2021, who take the root of the product of the 1- and the ∞-norm
    """
    states = states.double()
    norm = states.norm()
    return float((states - states.mean(0)).norm() / norm) if norm > 0 else float("nan")
