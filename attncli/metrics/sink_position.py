from attncli.data import Columns, Metric
from attncli.metrics._shared import Tensor, strongest_key


def sink_position(columns: Columns) -> Tensor:
    """Which key gets most attention of the head?

    Formula   argmax_k α_k, α_k and the keys as for sink. Values within a millionth of the largest count as equal to it;
              of these the first key
    Axes      sums over rows [batch, head, key] → [batch, head]
    Unit      position, from 0 (the first token)
    Undefined where no key is visible to at least max(5, 5 % of the rows) (all rows, if fewer)
    Caveat    Means little where sink is small. Over several texts it is the most frequent position (of equally
              frequent ones the first), and sink_position_share is the share of the texts with it.
    Source    Gu et al. 2024, "When Attention Sink Emerges in Language Models"; their α_k^h is our α_k, and they
              call a head a sink head above 0.3

    Two rows 1, 0 and 1/2, 1/2 give keys 0 and 1 the means 3/4 and 1/4: sink_position is 0.
    """
    return strongest_key(columns)[1]


METRIC = Metric(sink_position, "column", unit="position", range=(0.0, None), source="Gu et al. 2024", category=True)
