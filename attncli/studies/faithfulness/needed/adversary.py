"""Adversarial attention: weights as far as possible from the model's, with which it predicts nearly the same.

A row is a mixture of the model's row and a softmax of scores, so that it sums to 1 and masked keys keep 0; rows that
the output needs can stay near the model's. Adam raises the mean Jensen-Shannon divergence of the rows, minus a penalty
for outputs that are too far; the penalty adapts. The farthest weights on the way whose output is near enough count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from attncli.capturing.gates import LayerKey
from attncli.engine.memory import allowed_memory, format_size
from attncli.engine.progress import Advance
from attncli.errors import ModelError, UsageError
from attncli.studies.faithfulness.needed.distances import Tensor, jensen_shannon
from attncli.studies.faithfulness.needed.head_passes import (
    EditableRows,
    EditedPrediction,
    HeadPasses,
    given_weights,
)
from attncli.studies.faithfulness.needed.row_means import RowMeans

_RATE, _BETAS = 0.3, (0.9, 0.9)
"""The second memory of Adam is short: gradients of rows with all weight on one key are far smaller than before."""
_NOISE, _SEED = 1.0, 0
_RAISED = 5.0
"""Added to the score of the least weight of a row at the start: all weight on it is the farthest row."""
_LOWEST = -10.0
"""Lowest score, relative to the largest of its row: smaller weights would hardly change."""
_MIXED, _MOST_MIXED = 4.0, 8.0
"""Logit of the share of the softmax in a row at the start, and its largest size."""
_WITHIN = 0.8
"""Share of epsilon above which outputs are penalised."""
_GROWTH, _DECAY, _LEAST, _MOST = 1.1, 1.05, 1e-2, 1e2
_HALVINGS = 8
_COPIES = 14
"""Tensors of the size of all weights that are in memory at once."""


@dataclass(frozen=True, eq=False)
class Adversary:
    """The farthest weights that were found for one text.

    weights     [head, row, key] of the chosen heads of each layer; each row sums to 1
    prediction  what the model predicts with them
    distance    total variation distance of its output from that of the model
    """

    weights: Mapping[LayerKey, Tensor]
    prediction: EditedPrediction
    distance: float


def find_adversary(
    passes: HeadPasses, means: RowMeans, prediction: EditedPrediction, epsilon: float, steps: int, advance: Advance
) -> Adversary:
    """Return the farthest weights of the chosen heads whose output is at most `epsilon` from that of the model.

    means       the weights of the model
    prediction  what it predicts with them
    Raise UsageError if the weights and their gradients do not fit into memory, ModelError without gradients.
    """
    _check_memory(passes, means)
    search = _Search(passes, means.layers, prediction, epsilon)
    for _ in range(steps):
        search.step()
        advance(1)
    weights = search.best if search.best is not None else _nearest_allowed(search)
    edited = search.predict(weights)
    return Adversary(weights, edited, float(edited.distance(prediction)[0]))


@dataclass(eq=False)
class _Search:
    """The search for the farthest weights of one text.

    best      the farthest weights so far whose output is near enough, each row summing to 1; None if there are none
    last      the weights of the last step
    """

    passes: HeadPasses
    rows: Mapping[LayerKey, EditableRows]
    prediction: EditedPrediction
    epsilon: float
    best: dict[LayerKey, Tensor] | None = None
    last: dict[LayerKey, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        generator = torch.Generator().manual_seed(_SEED)
        self._scores = {key: _first_scores(of_layer, generator) for key, of_layer in self.rows.items()}
        self._shares = {
            key: torch.full_like(of_layer[..., :1], _MIXED).requires_grad_() for key, of_layer in self._scores.items()
        }
        self._adam = torch.optim.Adam(self._parameters, lr=_RATE, betas=_BETAS)
        self._model = {key: of_layer.weights.to(self._scores[key].dtype) for key, of_layer in self.rows.items()}
        self._count = max(1, sum(int(of_layer.free.sum()) for of_layer in self.rows.values()))
        self._penalty, self._farthest = 1.0, 0.0

    @property
    def _parameters(self) -> list[Tensor]:
        return [*self._scores.values(), *self._shares.values()]

    @torch.enable_grad()
    def step(self) -> None:
        """Compute the weights and what the model predicts with them, and change scores and shares."""
        weights = {key: self._weights(key) for key in self.rows}
        distance = self.predict(weights, gradients=True).distance(self.prediction)[0]
        if not distance.requires_grad:
            name = type(self.passes.predictions.prepared.loaded.model).__name__
            raise ModelError(f"{name} gives no gradients of its output: leave out the search, --adversarial-steps 0")
        divergence = self._divergence(weights)
        self._keep(weights, float(distance.detach()), float(divergence.detach()))
        loss = self._penalty * (distance - _WITHIN * self.epsilon).clamp_min(0) - divergence
        gradients = self.passes.predictions.gradients_of(loss, self._parameters)
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            parameter.grad = gradient
        self._adam.step()
        self._limit()
        growth = _GROWTH if float(distance.detach()) > self.epsilon else 1 / _DECAY
        self._penalty = min(max(self._penalty * growth, _LEAST), _MOST)

    @torch.no_grad()
    def _limit(self) -> None:
        """Keep scores and shares where their gradients do not vanish."""
        for key, scores in self._scores.items():
            largest = self._visible_scores(key).amax(-1, keepdim=True)
            scores.copy_(torch.maximum(scores, largest + _LOWEST))
            self._shares[key].clamp_(-_MOST_MIXED, _MOST_MIXED)

    def predict(self, weights: Mapping[LayerKey, Tensor], gradients: bool = False) -> EditedPrediction:
        """Return what the model predicts with weights [head, row, key] that sum to 1."""
        given = {key: (weights[key] * self.rows[key].mass.to(weights[key]))[None] for key in self.rows}
        return self.passes.predict(given_weights(self.passes, given), gradients=gradients)

    def between(self, share: float) -> dict[LayerKey, Tensor]:
        """Return weights on the way from those of the model, share 0, to those of the last step, share 1."""
        return {key: (1 - share) * self._model[key] + share * self.last[key] for key in self.rows}

    def _weights(self, key: LayerKey) -> Tensor:
        share = self._shares[key].sigmoid()
        return (1 - share) * self._model[key] + share * self._visible_scores(key).softmax(-1)

    def _visible_scores(self, key: LayerKey) -> Tensor:
        scores = self._scores[key]
        return scores.masked_fill(~self.rows[key].visible, torch.finfo(scores.dtype).min)

    def _divergence(self, weights: Mapping[LayerKey, Tensor]) -> Tensor:
        of_layers = [(jensen_shannon(self._model[key], weights[key]) * self.rows[key].free).sum() for key in self.rows]
        return torch.stack(of_layers).sum() / self._count

    def _keep(self, weights: Mapping[LayerKey, Tensor], distance: float, divergence: float) -> None:
        self.last = {key: of_layer.detach() for key, of_layer in weights.items()}
        if distance <= self.epsilon and divergence > self._farthest:
            self.best, self._farthest = self.last, divergence


def _first_scores(rows: EditableRows, generator: torch.Generator) -> Tensor:
    """Return the scores [head, row, key] at the start: those of the model with noise, and the least of a row raised.

    At the weights of the model themselves the divergence has no gradient.
    """
    weights = rows.weights.float()
    scores = (weights / weights.amax(-1, keepdim=True).clamp_min(torch.finfo(weights.dtype).tiny)).log()
    scores = scores.clamp_min(_LOWEST)
    noise = _NOISE * torch.randn(scores.shape, generator=generator).to(scores)
    least = weights.masked_fill(~rows.visible, torch.inf).argmin(-1, keepdim=True)
    raised = torch.zeros_like(scores).scatter(-1, least, _RAISED)
    return (scores + noise + raised).requires_grad_()


def _nearest_allowed(search: _Search) -> dict[LayerKey, Tensor]:
    """Return the farthest weights between those of the model and those of the last step whose output is near enough.

    The divergence grows on the way. The distance of the output mostly does: the share of the way is halved.
    """
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        near = float(search.predict(search.between(middle)).distance(search.prediction)[0]) <= search.epsilon
        low, high = (middle, high) if near else (low, middle)
    return search.between(low)


def _check_memory(passes: HeadPasses, means: RowMeans) -> None:
    """Raise UsageError if the weights and their gradients need more than is allowed."""
    predictions = passes.predictions
    predictions.copies(gradients=True, weights=True)
    needed = 4 * _COPIES * sum(of_layer.weights.numel() for of_layer in means.layers.values())
    allowed = allowed_memory(predictions.prepared.request.max_memory)
    if allowed is not None and allowed < needed:
        raise UsageError(
            f"adversarial attention takes {format_size(needed)}, allowed are {format_size(allowed)}: choose "
            "fewer heads with --layer and --head, allow more with --max-memory, or give --adversarial-steps 0"
        )
