from attncli.data import Metric
from attncli.metrics._shared import (
    OFFSET_SUMS,
    SELF_ATTENTION,
    AnyRows,
    Tensor,
    distance_sum_before,
    offset_sum_rest,
    raw_sum,
    row_steps,
    where_defined,
)


def offset(rows: AnyRows) -> Tensor:
    """Does a token attend to tokens before or after it, and how far away on balance?

    Formula   Σ_j A_ij (j-i) / Σ_j A_ij
    Axes      weights [batch, head, row, key] → [batch, head, row]
    Unit      tokens, below 0 before, above 0 after
    Undefined for padding rows and in cross-attention, where i and j count different texts
    Caveat    0 means only that both sides balance: a head that attends far to both sides has offset 0 and a large
              distance.
    Source    the signed form of the distance of Vig & Belinkov 2019; their α_ij is our A_ij

    Row 2 with weights 3/4 on key 1 and 1/4 on key 3 has ¾ · (-1) + ¼ · 1 = -0.5 tokens.
    """
    return where_defined(rows.real, (offset_sum_rest(rows) - distance_sum_before(rows)) / raw_sum(rows))


METRIC = Metric(
    offset,
    "row",
    unit="tokens",
    range=(None, None),
    source="signed, after Vig & Belinkov 2019",
    kinds=SELF_ATTENTION,
    neutral=0.0,
    needs=OFFSET_SUMS,
    needs_visibility=(row_steps,),
)
