from attncli.data import Metric
from attncli.metrics._shared import SELF_ATTENTION, AnyRows, Tensor, weight_at_offset


def previous_mass(rows: AnyRows) -> Tensor:
    """How much attention goes to the token just before?

    Formula   A_i,i-1
    Axes      weights [batch, head, row, key] → [batch, head, row]
    Unit      1, from 0 to 1 (all of it)
    Undefined for padding rows, in cross-attention, for the first token, and where that key is masked
    Caveat    A local head scores here too, and so does row 1 of a causal sink head: compare with diagonal_offset.
    Source    Clark et al. 2019, "What Does BERT Look At?", their α_ij is our A_ij. (They divide by n; we
              take the mean over the rows that have such a key.)

    Row 1 with weights 1/4, 3/4 has previous_mass 1/4; for row 0 it is undefined.
    """
    return weight_at_offset(rows, -1)


METRIC = Metric(
    previous_mass, "row", label="to the previous token", source="Clark et al. 2019", kinds=SELF_ATTENTION, needs=()
)
