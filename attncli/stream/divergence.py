"""The Jensen-Shannon divergence of rows of weights, one pair of rows or all pairs of heads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch

Tensor = torch.Tensor
LEAST = torch.finfo(torch.float32).tiny
"""Added to weights of 0, which have no logarithm."""
_CELLS = 1 << 17
"""Cells of which logarithms are taken at once: few enough to stay in a fast cache."""


def divergence(weights: Tensor, other: Tensor) -> Tensor:
    """How far apart are two rows of weights, as distributions over keys?

    Formula   JS = ½ [KL(p‖m) + KL(q‖m)], m = (p + q) / 2, as ½ Σ p ln p + ½ Σ q ln q - Σ m ln m
    Axes      weights [..., row, key] that sum to 1 → [..., row]
    Unit      nat, from 0 (equal) to ln 2 = 0.693 (no key in common)
    Source    Lin 1991, "Divergence measures based on the Shannon entropy"; Clark et al. 2019 for heads
    """
    half, other_half = (part.clamp_min(LEAST) / 2 for part in (weights, other))
    own = (log_sums(half, half) + log_sums(other_half, other_half)) / 2
    return (own - log_sums(half, other_half)).clamp_min(0)


def divergence_from_mean(weights: Tensor, real: Tensor) -> Tensor:
    """Return how far rows are from their mean row, as `attncli explain rows_to_mean` defines it: [...], in nat.

    weights  [..., row, key], each row sums to 1
    real     [..., row] 1 for rows that count, else 0; NaN if none counts
    """
    count = real.sum(-1)
    mean = (real.to(weights.dtype)[..., None, :] @ weights) / count[..., None, None].to(weights.dtype)
    step = max(1, _CELLS // weights.shape[-1])
    divergences = torch.cat([divergence(part, mean) for part in torch.split(weights, step, -2)], -1)
    return (divergences * real).sum(-1) / count


def log_sums(weights: Tensor, other: Tensor) -> Tensor:
    """Return Σ_j s_j ln s_j, s the sum of two rows without zeros: [..., row, key] → [..., row] float64."""
    if weights.device.type != "cpu":
        total = weights + other
        return total.log().mul_(total).sum(-1).double()
    # NumPy computes logarithms up to three times as fast as torch, on one core
    total = np.add(weights.numpy(), other.numpy())
    logs = np.log(total)
    logs *= total
    return torch.from_numpy(logs).sum(-1).double()


@dataclass(frozen=True, eq=False)
class HalfRows:
    """Rows of several heads, ready to be compared in pairs.

    A row of |S| keys is rescaled to sum to |S| / 2: the sums of two rows are then near 1 if attention is spread, where
    logarithms are small, so that float32 is enough for long texts. The error of a distance √JS stays below 1e-6 from
    0.01 up; smaller distances over 64 rows or more have an error of up to 5e-5.

    halves   [text, head, row, key] weights, nowhere 0
    sizes    [text, 1, row] float64 |S|, or any number that all heads share
    defined  [text, head, row] float64: 1 for rows that count, else 0
    """

    halves: Tensor
    sizes: Tensor
    defined: Tensor

    @classmethod
    def of(cls, weights: Tensor, sizes: Tensor, real: Tensor) -> Self:
        """Return the rows [text, head, row, key] that have weight and are `real`, which may sum to any number."""
        total = weights.sum(-1).double()
        defined = real & (total > 0)
        factors = torch.where(defined, sizes / 2 / total, 0.0).to(weights.dtype)
        return cls((weights * factors[..., None]).clamp_min_(LEAST), sizes, defined.double())

    def among(self) -> tuple[Tensor, Tensor]:
        """Return the sum of JS over the common rows of each pair of heads, and their number: [text, head, head]."""
        heads = range(self.halves.shape[1])
        logs = self.sizes.new_zeros((*self.defined.shape[:2], *self.defined.shape[1:]))
        for head in heads:
            logs[:, head, head:] = logs[:, head:, head] = self._pair_logs(head, self, head)
        own = logs.diagonal(0, 1, 2).movedim(-1, 1)
        return self._sums(self, logs, own, own)

    def with_others(self, other: HalfRows) -> tuple[Tensor, Tensor]:
        """Return the same for each of its heads and each head of `other`, which has the same rows and keys."""
        logs = torch.stack([self._pair_logs(head, other) for head in range(self.halves.shape[1])], 1)
        return self._sums(other, logs, log_sums(self.halves, self.halves), log_sums(other.halves, other.halves))

    def with_same(self, other: HalfRows) -> tuple[Tensor, Tensor]:
        """Return the same for each of its heads and the same head of `other`, or its only one: [text, head]."""
        own, of_other = log_sums(self.halves, self.halves), log_sums(other.halves, other.halves)
        divergences = ((own + of_other) / 2 - log_sums(self.halves, other.halves)) / self.sizes
        common = self.defined * other.defined
        return (divergences * common).sum(-1), common.sum(-1)

    def _pair_logs(self, head: int, other: HalfRows, first: int = 0) -> Tensor:
        """Return Σ s ln s of one head and each head of `other` from `first` on: [text, head, row]."""
        step = max(1, _CELLS // self.halves[:, 0].numel())
        parts = torch.split(other.halves[:, first:], step, 1)
        return torch.cat([log_sums(self.halves[:, head, None], part) for part in parts], 1)

    def _sums(self, other: HalfRows, logs: Tensor, own: Tensor, of_other: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sums from Σ s ln s of each pair of heads, [text, head, head, row], and of the heads alone."""
        divergences = ((own[:, :, None] + of_other[:, None]) / 2 - logs) / self.sizes[:, :, None]
        common = self.defined[:, :, None] * other.defined[:, None]
        return (divergences * common).sum(-1), common.sum(-1)
