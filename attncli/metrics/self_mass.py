from attncli.data import Metric
from attncli.metrics._shared import SELF_ATTENTION, AnyRows, Tensor, weight_at_offset


def self_mass(rows: AnyRows) -> Tensor:
    """How much attention does a token give to itself?

    Formula   A_i,i
    Axes      weights [batch, head, row, key] → [batch, head, row]
    Unit      1, from 0 to 1 (all of it)
    Undefined for padding rows, in cross-attention, and where the row's own key is masked
    Caveat    In a causal model the first row sees only its own key, so its value is always 1.
    Source    Clark et al. 2019, "What Does BERT Look At?", their α_ij is our A_ij. (They divide by n; we
              take the mean over the rows that are defined.)

    Row 1 with weights 1/4, 3/4 has self_mass 3/4.
    """
    return weight_at_offset(rows, 0)


METRIC = Metric(
    self_mass, "row", label="to the token itself", source="Clark et al. 2019", kinds=SELF_ATTENTION, needs=()
)
