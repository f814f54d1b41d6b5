"""How far a row looks, against looking evenly at everything."""

from __future__ import annotations

import torch

from attncli.data import Rows, RowSums
from attncli.metrics._declare import row_metric
from attncli.metrics._shared import NEEDS_DISTANCE, SELF, mean_distance, steps, uniform_distance, where_defined


def distance_ratio(rows: Rows | RowSums) -> torch.Tensor:
    """Does a token look nearer or farther than if it looked evenly at all that it may see?

    Formula   distance_i / (Σ_{j ∈ S_i} |i-j| / |S_i|)
    Axes      weights [batch, head, row, key] → [batch, head, row]
    Unit      1, where 1 is like even attention, below 1 nearer, above 1 farther
    Undefined for padding rows, where the row sees only itself, and in cross-attention
    Caveat    Made so that long and short texts, causal and bidirectional rows compare; the row's reach bounds
              it, so that a row in the middle of a text cannot look as far (relatively) as one at its end.
    Source    distance after Vig & Belinkov 2019, their α_ij is our A_ij; the divisor is ours

    Row 2 of a causal text that gives 1/2 to key 0 and 1/2 to key 2 has distance 1; even attention over keys
    0, 1, 2 would have (2 + 1 + 0) / 3 = 1, so the ratio is 1.
    """
    # a row that sees only itself has 0 / 0, which is NaN
    return where_defined(rows.real, mean_distance(rows) / uniform_distance(rows.visibility))


METRIC = row_metric(
    distance_ratio,
    unit="1",
    range=(0.0, None),
    source="after Vig & Belinkov 2019",
    kinds=SELF,
    neutral=1.0,
    needs=NEEDS_DISTANCE,
    views=(steps, uniform_distance),
)
