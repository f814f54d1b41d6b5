from attncli.data import Columns, Metric
from attncli.metrics._shared import Tensor, strongest_key


def sink(columns: Columns) -> Tensor:
    """How much attention does the strongest key of the head get from every row?

    Formula   max_k α_k, α_k = Σ_{i: k ∈ S_i} A_ik / |{i: k ∈ S_i}|, over keys that at least max(5, 5 % of the
              rows) can see (all rows, if fewer)
    Axes      sums over rows [batch, head, key] → [batch, head]
    Unit      1, from 0 to 1 (all attention of every row): a vertical stripe in the map
    Undefined where no key is visible to that many rows
    Caveat    In short texts uniform attention alone reaches 1/n.
    Source    Gu et al. 2024, "When Attention Sink Emerges in Language Models"; their α_k^h is our α_k, and they
              call a head a sink head above 0.3

    Two rows 1, 0 and 1/2, 1/2 give key 0 the mean 3/4: sink is 3/4.
    """
    return strongest_key(columns)[0]


METRIC = Metric(sink, "column", source="Gu et al. 2024", any_axes=True)
