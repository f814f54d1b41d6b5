from attncli.data import Metric
from attncli.metrics._shared import (
    DISTANCE_SUMS,
    SELF_ATTENTION,
    AnyRows,
    Tensor,
    mean_distance,
    row_steps,
    uniform_distance,
    where_defined,
)


def distance_ratio(rows: AnyRows) -> Tensor:
    """Is the attention of a token nearer or farther than uniform attention over its visible keys?

    Formula   distance_i / (Σ_{j ∈ S_i} |i-j| / |S_i|)
    Axes      weights [batch, head, row, key] → [batch, head, row]
    Unit      1, where 1 is like uniform attention, below 1 nearer, above 1 farther
    Undefined for padding rows, where only the row's own key is visible, and in cross-attention
    Caveat    Makes long and short texts, causal and bidirectional rows comparable. The visible keys bound it: a row
              in the middle of a text cannot reach as high a ratio as a row at its end.
    Source    distance after Vig & Belinkov 2019, their α_ij is our A_ij; the divisor is ours

    Row 2 of a causal text with weights 1/2 on key 0 and 1/2 on key 2 has distance 1; uniform attention over keys
    0, 1, 2 has (2 + 1 + 0) / 3 = 1, so the ratio is 1.
    """
    # a row whose only visible key is its own has 0 / 0, which is NaN
    return where_defined(rows.real, mean_distance(rows) / uniform_distance(rows.visibility))


METRIC = Metric(
    distance_ratio,
    "row",
    unit="1",
    range=(0.0, None),
    label="distance / uniform",
    source="after Vig & Belinkov 2019",
    kinds=SELF_ATTENTION,
    neutral=1.0,
    needs=DISTANCE_SUMS,
    needs_visibility=(row_steps, uniform_distance),
)
