"""How far a row looks, in tokens."""

from __future__ import annotations

import torch

from attncli.data import Rows, RowSums
from attncli.metrics._declare import row_metric
from attncli.metrics._shared import NEEDS_DISTANCE, SELF, mean_distance, steps, where_defined


def distance(rows: Rows | RowSums) -> torch.Tensor:
    """How many tokens away does a token look, on average?

    Formula   Σ_j A_ij |i-j| / Σ_j A_ij
    Axes      weights [batch, head, row, key] → [batch, head, row]
    Unit      tokens, from 0 (only at itself) to the farthest visible key
    Undefined for padding rows and in cross-attention, where i and j count different texts
    Caveat    Grows with the length of the text: compare texts by distance_ratio. The mean of a near and a far
              token is a middle distance at which nothing may stand.
    Source    Vig & Belinkov 2019, "Analyzing the Structure of Attention in a Transformer Language Model", for
              causal rows; their α_ij is our A_ij. (They pool all rows of a corpus into one fraction; ours is
              one per row.)

    Row 2 that gives 1/2 to key 0 and 1/2 to key 2 has ½ · 2 + ½ · 0 = 1 token.
    """
    return where_defined(rows.real, mean_distance(rows))


METRIC = row_metric(
    distance,
    unit="tokens",
    range=(0.0, None),
    source="Vig & Belinkov 2019",
    kinds=SELF,
    needs=NEEDS_DISTANCE,
    views=(steps,),
)
