from attncli.data import Metric
from attncli.metrics._shared import ENTROPY_SUMS, AnyRows, Tensor, row_entropy, where_defined


def entropy(rows: AnyRows) -> Tensor:
    """How widely does a token spread its attention?

    Formula   -Σ_j A_ij ln A_ij, with 0 ln 0 = 0
    Axes      weights [batch, head, row, key] → [batch, head, row]
    Unit      nat, from 0 (all on one key) to ln |S_i| (uniform over the |S_i| keys visible to row i)
    Undefined for padding rows
    Caveat    Early causal rows see few keys and have low entropy for that reason alone: compare with
              entropy_normalized. Rows of models with a learned sink sum to less than 1; the sink is left out and
              the rest is not rescaled (a row of one or two keys can then exceed ln |S_i| a little).
    Source    Clark et al. 2019, "What Does BERT Look At?", their α_ij is our A_ij. (They first smooth by
              0.9999 A + 0.0001/n; we do not.)

    A row with weights 1/2, 1/4, 1/4 has ½ ln 2 + 2 · ¼ ln 4 = 1.5 ln 2 = 1.0397 nat.
    """
    return where_defined(rows.real, row_entropy(rows))


METRIC = Metric(
    entropy, "row", unit="nat", range=(0.0, None), source="Clark et al. 2019", needs=ENTROPY_SUMS, any_axes=True
)
