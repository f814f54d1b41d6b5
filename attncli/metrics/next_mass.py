from attncli.data import Metric
from attncli.metrics._shared import SELF_ATTENTION, AnyRows, Tensor, weight_at_offset


def next_mass(rows: AnyRows) -> Tensor:
    """How much attention goes to the token just after?

    Formula   A_i,i+1
    Axes      weights [batch, head, row, key] → [batch, head, row]
    Unit      1, from 0 to 1 (all of it)
    Undefined for padding rows, in cross-attention, for the last token, and where that key is masked, so in every
              row of a causal model
    Caveat    A local head that attends to both sides scores here too: compare with diagonal_offset.
    Source    Clark et al. 2019, "What Does BERT Look At?", their α_ij is our A_ij. (They divide by n; we
              take the mean over the rows that have such a key.)

    Row 0 with weights 1/4, 3/4 has next_mass 3/4; for the last row it is undefined.
    """
    return weight_at_offset(rows, 1)


METRIC = Metric(next_mass, "row", label="to the next token", source="Clark et al. 2019", kinds=SELF_ATTENTION, needs=())
