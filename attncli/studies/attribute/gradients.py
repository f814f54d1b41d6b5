"""Methods that follow gradients from the score to the vectors of the tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from attncli.engine.progress import Track
from attncli.errors import UsageError
from attncli.studies.attribute.predictions import Predictions

Tensor = torch.Tensor
ALLOWED_DELTA = 0.05
"""Largest share of the change of the score that integrated gradients may miss."""
NO_CHANGE = 1e-4
"""Largest error, in units of the score, that is none even if the score hardly changes."""
MOST_STEPS = 16
"""How many times more steps than at first integrated gradients may take."""


def at_the_text(predictions: Predictions) -> dict[str, list[tuple[Tensor, ...]]]:
    """Return input-x-gradient and gradient-norm: for each output the values of the tokens, [token] for each side."""
    leaves = [vectors.detach().clone()[None].requires_grad_() for vectors in predictions.vectors]
    predictions.copies(gradients=True)
    scores = predictions.scores(leaves, gradients=True)[0]
    values: dict[str, list[tuple[Tensor, ...]]] = {"input-x-gradient": [], "gradient-norm": []}
    for score in scores:
        gradients = predictions.gradients_of(score, leaves)
        pairs = [(leaf.detach()[0].double(), of[0].double()) for leaf, of in zip(leaves, gradients, strict=True)]
        values["input-x-gradient"].append(tuple((leaf * gradient).sum(-1) for leaf, gradient in pairs))
        values["gradient-norm"].append(tuple(gradient.norm(dim=-1) for _, gradient in pairs))
    return values


@dataclass(frozen=True, eq=False)
class Integrated:
    """Integrated gradients of one output.

    values  [token] for each side
    steps   number of steps that were needed
    change  score of the text minus that of the baseline
    delta   sum of all values minus `change`: the error of the integration
    """

    values: tuple[Tensor, ...]
    steps: int
    change: float
    delta: float

    @property
    def share(self) -> float:
        """The error as a share of the change of the score; 0 where it is no error."""
        return 0.0 if abs(self.delta) <= NO_CHANGE else abs(self.delta) / max(abs(self.change), NO_CHANGE)


def integrated_gradients(
    predictions: Predictions, baseline: Sequence[Tensor], steps: int, allow_delta: bool, track: Track
) -> list[Integrated]:
    """Return the integrated gradients of each output, from the baseline to the text.

    The steps double until at most `ALLOWED_DELTA` of the change of the score is missing. Raise UsageError if that is
    not reached with `MOST_STEPS` times as many, unless `allow_delta`.
    """
    method = load_captum()
    ends = [torch.stack(pair) for pair in zip(predictions.vectors, baseline, strict=True)]
    changes = [float(text - without) for text, without in predictions.scores(ends).T]
    integrated = []
    with track("integrating", steps * len(changes), "steps") as advance:
        for output, change in enumerate(changes):
            result = _integrate(method, predictions, baseline, output, steps, change, advance)
            while result.share > ALLOWED_DELTA and result.steps < MOST_STEPS * steps:
                result = _integrate(method, predictions, baseline, output, 2 * result.steps, change, lambda done: None)
            if result.share > ALLOWED_DELTA and not allow_delta:
                raise UsageError(
                    f"integrated-gradients of '{predictions.outputs[output].name[:40]}' miss {result.share:.0%} of the "
                    f"change of the score with {result.steps} steps: give more --steps or another --baseline, or "
                    "accept them with --allow-delta"
                )
            integrated.append(result)
    return integrated


def _integrate(
    method: Any,
    predictions: Predictions,
    baseline: Sequence[Tensor],
    output: int,
    steps: int,
    change: float,
    advance: Callable[[float], None],
) -> Integrated:
    """Return the integrated gradients of one output with a number of steps."""

    def score(*vectors: Tensor) -> Tensor:
        advance(len(vectors[0]))
        return predictions.scores(vectors, gradients=True)[:, output]

    given = tuple(vectors[None] for vectors in predictions.vectors)
    without = tuple(vectors[None] for vectors in baseline)
    size = min(steps, predictions.copies(gradients=True))
    attributions = method(score).attribute(given, without, n_steps=steps, internal_batch_size=size)
    predictions.check_finite(attributions)
    values = tuple(of_side[0].double().sum(-1) for of_side in attributions)
    return Integrated(values, steps, change, float(sum(of_side.sum() for of_side in values)) - change)


def load_captum() -> Any:
    """Return the class of Captum; raise UsageError if it is not installed."""
    try:
        from captum.attr import IntegratedGradients
    except ImportError as error:
        raise UsageError("integrated-gradients needs Captum: pip install 'attncli[attribution]'") from error
    return IntegratedGradients
