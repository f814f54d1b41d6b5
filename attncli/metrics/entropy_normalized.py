from attncli.data import Metric
from attncli.metrics._shared import ENTROPY_SUMS, AnyRows, Tensor, row_entropy, where_defined


def entropy_normalized(rows: AnyRows) -> Tensor:
    """How close is a token's attention to uniform over its visible keys?

    Formula   entropy_i / ln |S_i|
    Axes      weights [batch, head, row, key] → [batch, head, row]
    Unit      1, from 0 (all on one key) to 1 (uniform over the |S_i| keys visible to row i)
    Undefined for padding rows and where |S_i| = 1, as in the first row of a causal model
    Caveat    Divided by ln of the visible keys, not of the text length, which would make every causal head look
              focused. Rows that sum to less than 1 (learned sinks) are not rescaled: they stay below 1 even when
              uniform, except rows of two keys, which can reach 1.06.
    Source    Clark et al. 2019, "What Does BERT Look At?" for the entropy of their α_ij, our A_ij; the divisor
              is ours

    A row with weights 1/2, 1/2, 0, 0 on four visible keys has ln 2 / ln 4 = 0.5.
    """
    return where_defined(rows.real & (rows.visible_count > 1), row_entropy(rows) / rows.visible_count.log())


METRIC = Metric(
    entropy_normalized,
    "row",
    label="normalized entropy",
    source="Clark et al. 2019, divided by ln |S_i|",
    needs=ENTROPY_SUMS,
    any_axes=True,
)
