"""Distances between distributions: of outputs of a model, and of attention weights."""

from __future__ import annotations

import torch

from attncli.engine.explained import Explained
from attncli.errors import ModelError

Tensor = torch.Tensor
_TINY = 1e-30
"""Added in logarithms, so that weights of 0 have finite gradients."""


def output_distribution(explained: Explained, logits: Tensor) -> Tensor:
    """Return the distributions of the outputs that a model chooses from, [batch, prediction, token or label] float64.

    Labels that do not exclude each other have a probability each, which do not sum to 1. Raise ModelError if the model
    gives a number.
    """
    if explained.by == "number":
        raise ModelError("the model gives a number, which has no distribution: --needed compares distributions")
    of_ids = explained.of_ids(logits)
    return of_ids.sigmoid() if explained.by == "sigmoid" else of_ids.softmax(-1)


def total_variation(explained: Explained, first: Tensor, second: Tensor) -> Tensor:
    """Return the total variation distance of outputs, [batch] from 0 to 1.

    Formula   1/2 sum |p - q|, the mean over the predicted tokens (of an answer, over its start and its end); of labels
              that do not exclude each other the mean of |p - q|
    Axes      as `output_distribution` returns them
    Source    Jain & Wallace 2019
    """
    differences = (first - second).abs()
    of_tokens = differences.mean(-1) if explained.by == "sigmoid" else differences.sum(-1) / 2
    return of_tokens.mean(-1)


def jensen_shannon(first: Tensor, second: Tensor) -> Tensor:
    """Return the Jensen-Shannon divergence of rows [..., key] in nats, [...]; rows sum to 1, masked keys have 0.

    Formula   1/2 KL(p ‖ m) + 1/2 KL(q ‖ m), m = (p + q) / 2
    Range     0 … ln 2
    """
    logarithm = torch.log((first + second) / 2 + _TINY)
    of_each = [rows * (torch.log(rows + _TINY) - logarithm) for rows in (first, second)]
    return ((of_each[0] + of_each[1]).sum(-1) / 2).clamp_min(0)


def farthest(weights: Tensor, visible: Tensor) -> Tensor:
    """Return the largest Jensen-Shannon divergence that any row can have from each row [..., key]; [...].

    It is that of the row which gives all weight to the visible key with the least: the divergence is convex.
    """
    least = weights.masked_fill(~visible, torch.inf).argmin(-1, keepdim=True)
    return jensen_shannon(weights, torch.zeros_like(weights).scatter(-1, least, 1.0))
