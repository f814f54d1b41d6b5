"""Infidelity and maximal sensitivity of the values of one text, as Captum computes them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from attncli.data import Array
from attncli.engine.progress import untracked
from attncli.errors import UsageError
from attncli.studies.attribute.values import Values
from attncli.studies.faithfulness.options import FaithfulnessOptions
from attncli.studies.faithfulness.text import StudiedText

Tensor = torch.Tensor
SUBSETS = 50
"""Random sets of units that are removed to measure infidelity."""
NEIGHBOURS, RADIUS = 10, 0.02
"""Random changes of the vectors to measure sensitivity, and the largest change of each number; Captum's defaults."""


def captum_metrics() -> Any:
    """Return the module `captum.metrics`; raise UsageError if Captum is not installed."""
    try:
        import captum.metrics
    except ImportError as error:
        raise UsageError("--robustness needs Captum: pip install 'attncli[attribution]'") from error
    return captum.metrics


def infidelity(text: StudiedText, values: Array, seed: int) -> float:
    """Return how badly the values of the units predict the change of the score without random sets of units.

    Formula  mean of (sum of the removed values * b - change of the score)^2, with the factor b that fits best
    Axes     values [unit]
    Source   Yeh et al. 2019; captum.metrics.infidelity with normalize=True
    """
    generator = np.random.default_rng((seed, text.number))
    # the score that the methods explain, not the probability
    remover = replace(text.remover, predictions=text.predictions)

    def score(present: Tensor) -> Tensor:
        return torch.from_numpy(remover.scores("mask", present.numpy() < 0.5))

    def remove(present: Tensor) -> tuple[Tensor, Tensor]:
        share = generator.random((len(present), 1))
        kept = torch.from_numpy((generator.random(tuple(present.shape)) >= share).astype(np.float64))
        return present - kept, kept

    every = torch.ones((1, len(values)), dtype=torch.float64)
    given = torch.from_numpy(values.copy())[None]
    measured = captum_metrics().infidelity(score, remove, every, given, n_perturb_samples=SUBSETS, normalize=True)
    return float(measured[0])


def sensitivity(text: StudiedText, method: str, options: FaithfulnessOptions, seed: int) -> float:
    """Return the largest relative change of the values of a method when the vectors of the text change a little.

    Source  Yeh et al. 2019; captum.metrics.sensitivity_max
    """
    generator = torch.Generator().manual_seed(seed + text.number)
    alone = replace(options, method=method)

    @torch.enable_grad()
    def explain(vectors: tuple[Tensor, ...]) -> tuple[Tensor]:
        words = text.predictions.word_vectors.items()
        moved = {side: replace(one, vectors=given[0]) for (side, one), given in zip(words, vectors, strict=True)}
        _, values = Values(replace(text.predictions, word_vectors=moved), alone, text.units, untracked).of(method)
        # of a tensor alone, Captum would take each unit for a text
        return (torch.from_numpy(values),)

    def move(vectors: Tensor | tuple[Tensor, ...], radius: float) -> tuple[Tensor, ...]:
        sides = vectors if isinstance(vectors, tuple) else (vectors,)
        noise = (2 * torch.rand(one.shape, generator=generator) - 1 for one in sides)
        return tuple(one + (radius * change).to(one) for one, change in zip(sides, noise, strict=True))

    inputs = tuple(vectors.clone()[None] for vectors in text.predictions.vectors)
    measured = captum_metrics().sensitivity_max(
        explain, inputs, move, RADIUS, n_perturb_samples=NEIGHBOURS, max_examples_per_batch=1
    )
    return float(measured[0])
