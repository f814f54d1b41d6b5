from attncli.data import Metric
from attncli.metrics._shared import ENTROPY_SUMS, AnyRows, Tensor, row_entropy, where_defined


def effective_keys(rows: AnyRows) -> Tensor:
    """Over how many tokens does a token spread its attention?

    Formula   exp(entropy_i)
    Axes      weights [batch, head, row, key] → [batch, head, row]
    Unit      keys, from 1 (all on one) to |S_i| (uniform over the keys visible to row i)
    Undefined for padding rows
    Caveat    A head's value is the mean over rows of exp(entropy), which is not exp of its mean entropy.
    Source    the perplexity of the row; entropy after Clark et al. 2019, their α_ij is our A_ij

    A row with weight 1/4 on each of four keys attends to exp(ln 4) = 4 keys.
    """
    return where_defined(rows.real, row_entropy(rows).exp())


METRIC = Metric(
    effective_keys,
    "row",
    unit="keys",
    range=(1.0, None),
    source="perplexity; Clark et al. 2019",
    needs=ENTROPY_SUMS,
    any_axes=True,
)
