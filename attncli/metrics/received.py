from attncli.data import Columns, Metric
from attncli.metrics._shared import Tensor


def received(columns: Columns) -> Tensor:
    """How much attention does each token get from the tokens that can see it?

    Formula   α_k = Σ_{i: k ∈ S_i} A_ik / |{i: k ∈ S_i}|
    Axes      sums over rows [batch, head, key] → [batch, head, key]
    Unit      1, from 0 to 1 (all attention of every row)
    Undefined for padding, and for keys that are masked for all rows
    Caveat    Few rows see late causal keys: these values are means over few rows.
    Source    Gu et al. 2024, "When Attention Sink Emerges in Language Models"; their importance score α_k^h,
              with their sum over rows i >= k taken over all rows to which k is visible

    Two rows with weights 1 and 1/2 on key 0 give it 3/4.
    """
    # a key that is masked for all rows has 0 / 0, which is NaN
    return columns.mass / columns.visible_rows


METRIC = Metric(received, "column", source="Gu et al. 2024", per_key=True, any_axes=True)
