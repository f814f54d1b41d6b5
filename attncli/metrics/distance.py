from attncli.data import Metric
from attncli.metrics._shared import (
    DISTANCE_SUMS,
    SELF_ATTENTION,
    AnyRows,
    Tensor,
    mean_distance,
    row_steps,
    where_defined,
)


def distance(rows: AnyRows) -> Tensor:
    """How many tokens away is the attention of a token, on average?

    Formula   Σ_j A_ij |i-j| / Σ_j A_ij
    Axes      weights [batch, head, row, key] → [batch, head, row]
    Unit      tokens, from 0 (only on itself) to the farthest visible key
    Undefined for padding rows and in cross-attention, where i and j count different texts
    Caveat    Grows with the length of the text: compare texts by distance_ratio. A near and a far key have a mean
              distance at which there may be no attention at all.
    Source    Vig & Belinkov 2019, "Analyzing the Structure of Attention in a Transformer Language Model", for
              causal rows; their α_ij is our A_ij. (They compute one fraction over all rows of a corpus; we compute
              one per row.)

    Row 2 with weights 1/2 on key 0 and 1/2 on key 2 has ½ · 2 + ½ · 0 = 1 token.
    """
    return where_defined(rows.real, mean_distance(rows))


METRIC = Metric(
    distance,
    "row",
    unit="tokens",
    range=(0.0, None),
    source="Vig & Belinkov 2019",
    kinds=SELF_ATTENTION,
    needs=DISTANCE_SUMS,
    needs_visibility=(row_steps,),
)
