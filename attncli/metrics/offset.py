"""In which direction a row looks, in tokens."""

from __future__ import annotations

import torch

from attncli.data import Rows, RowSums
from attncli.metrics._declare import row_metric
from attncli.metrics._shared import NEEDS_OFFSET, SELF, mean_offset, steps, where_defined


def offset(rows: Rows | RowSums) -> torch.Tensor:
    """Does a token look back or ahead, and by how much on balance?

    Formula   Σ_j A_ij (j-i) / Σ_j A_ij
    Axes      weights [batch, head, row, key] → [batch, head, row]
    Unit      tokens, below 0 back, above 0 ahead
    Undefined for padding rows and in cross-attention, where i and j count different texts
    Caveat    0 says only that both sides balance: a head that looks far to both sides has offset 0 and a large
              distance.
    Source    the signed form of the distance of Vig & Belinkov 2019; their α_ij is our A_ij

    Row 2 that gives 3/4 to key 1 and 1/4 to key 3 has ¾ · (-1) + ¼ · 1 = -0.5 tokens.
    """
    return where_defined(rows.real, mean_offset(rows))


METRIC = row_metric(
    offset,
    unit="tokens",
    range=(None, None),
    source="signed, after Vig & Belinkov 2019",
    kinds=SELF,
    neutral=0.0,
    needs=NEEDS_OFFSET,
    views=(steps,),
)
