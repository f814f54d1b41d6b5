from attncli.data import Metric
from attncli.metrics._shared import AnyRows, Tensor, largest_weight, where_defined


def confidence(rows: AnyRows) -> Tensor:
    """How much attention does a token give to its strongest key?

    Formula   max_j A_ij
    Axes      weights [batch, head, row, key] → [batch, head, row]
    Unit      1, from 1/|S_i| (uniform over the |S_i| keys visible to row i) to 1 (all on one key)
    Undefined for padding rows
    Caveat    A head that puts its attention on a separator or the first token is confident too: see special_mass
              and sink.
    Source    Voita et al. 2019, "Analyzing Multi-Head Self-Attention"; their maximum attention weight is our
              max_j A_ij. (They leave out the end-of-sentence token; we use every visible key.)

    A row with weights 1/2, 1/4, 1/4 has confidence 1/2.
    """
    return where_defined(rows.real, largest_weight(rows))


METRIC = Metric(confidence, "row", source="Voita et al. 2019", needs=(largest_weight,), any_axes=True)
