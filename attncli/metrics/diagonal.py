from attncli.data import Columns, Metric
from attncli.metrics._shared import Tensor, strongest_offset


def diagonal(columns: Columns) -> Tensor:
    """How much attention goes to one fixed offset from every row?

    Formula   max_o mean_i A_i,i+o, the mean over rows where i+o is visible, o from -8 to 8, over offsets that at
              least 5 rows (or all rows, if fewer) have. The offset is diagonal_offset: means within a millionth of
              the largest count as equal to it, and of equal ones the offset nearest to 0 is named
    Axes      sums over rows [batch, head, offset] → [batch, head]
    Unit      1, from 0 to 1 (every row puts all its attention at the same offset)
    Undefined where no offset has that many rows
    Caveat    A uniform causal head has some of it at offset 0, as its first rows see few other keys. In
              cross-attention i and j count different texts, so only equal positions line up.
    Source    the positional heads of Voita et al. 2019, "Analyzing Multi-Head Self-Attention", who count how often
              the largest weight is at one offset; ours is the mean weight A_i,i+o at that offset

    Two rows 1, 0 and 1/4, 3/4 have the mean (1 + 3/4) / 2 = 7/8 at offset 0: diagonal is 7/8.
    """
    return strongest_offset(columns)[0]


METRIC = Metric(diagonal, "column", source="after Voita et al. 2019")
