from attncli.data import Columns, Metric
from attncli.metrics._shared import Tensor, strongest_offset


def diagonal_offset(columns: Columns) -> Tensor:
    """Which fixed offset gets most attention of a head?

    Formula   argmax_o mean_i A_i,i+o, offsets and rows as for diagonal. Means within a millionth of the largest
              count as equal to it; of these the offset nearest to 0, of -1 and +1 it is -1
    Axes      sums over rows [batch, head, offset] → [batch, head]
    Unit      tokens, from -8 to 8; -1 is the token before
    Undefined where no offset has at least 5 rows (or all rows, if fewer)
    Caveat    Means little where diagonal is small. Over several texts it is the most frequent offset (of equally
              frequent ones the nearest to 0), and diagonal_offset_share is the share of the texts with it.
    Source    the positional heads of Voita et al. 2019, "Analyzing Multi-Head Self-Attention", who count how often
              the largest weight is at one offset; ours is the mean weight A_i,i+o at that offset

    Two rows 1, 0 and 1/4, 3/4 are strongest at offset 0: diagonal_offset is 0.
    """
    return strongest_offset(columns)[1]


METRIC = Metric(
    diagonal_offset,
    "column",
    unit="tokens",
    range=(-8.0, 8.0),
    source="after Voita et al. 2019",
    neutral=0.0,
    category=True,
)
