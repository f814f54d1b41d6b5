from attncli.data import Metric
from attncli.metrics._shared import ROW_SUMS, AnyRows, Tensor, raw_sum, where_defined


def missing_mass(rows: AnyRows) -> Tensor:
    """How much attention goes to no token at all?

    Formula   1 - Σ_j A_ij
    Axes      weights [batch, head, row, key] → [batch, head, row]
    Unit      1, from 0 (all attention is on tokens) to 1 (none is)
    Undefined for padding rows
    Caveat    Only models with a learned sink (gpt-oss and others) or with one softmax over several kinds of keys
              have any; for all others it is a rounding error near 0, positive or negative.
    Source    the learned sink logit of Agarwal et al. 2025, "gpt-oss-120b & gpt-oss-20b Model Card": its column
              of the softmax is dropped and our A_ij are the rest

    A row with weights 1/2 and 1/4 on its two keys has missing_mass 1/4.
    """
    return where_defined(rows.real, 1.0 - rows.factor * raw_sum(rows))


METRIC = Metric(
    missing_mass,
    "row",
    label="missing weight",
    source="the column dropped by learned sinks",
    needs=ROW_SUMS,
    any_axes=True,
)
