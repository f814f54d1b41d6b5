"""The attention that each key gets."""

from __future__ import annotations

import torch

from attncli.data import Columns
from attncli.metrics._declare import column_metric


def received(columns: Columns) -> torch.Tensor:
    """How much attention does each token get from those that can see it?

    Formula   α_k = Σ_{i: k ∈ S_i} A_ik / |{i: k ∈ S_i}|
    Axes      sums over rows [batch, head, key] → [batch, head, key]
    Unit      1, from 0 to 1 (all of everyone's)
    Undefined for padding, and for keys that no row may see
    Caveat    Late causal keys are seen by few rows: their value rests on little.
    Source    Gu et al. 2024, "When Attention Sink Emerges in Language Models"; their importance score α_k^h,
              with their sum over rows i >= k taken over all rows that may see k

    Two rows that give key 0 the weights 1 and 1/2 make 3/4.
    """
    # a key that no row may see has 0 / 0, which is NaN
    return columns.mass / columns.seen


METRIC = column_metric(received, unit="1", range=(0.0, 1.0), source="Gu et al. 2024", per_key=True)
