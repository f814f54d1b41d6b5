"""Entropy of a row as a share of the most that it could be."""

from __future__ import annotations

import torch

from attncli.data import Rows, RowSums
from attncli.metrics._declare import row_metric
from attncli.metrics._shared import NEEDS_NATS, nats, where_defined


def entropy_normalized(rows: Rows | RowSums) -> torch.Tensor:
    """How close is a token's attention to even over all that it may see?

    Formula   entropy_i / ln |S_i|
    Axes      weights [batch, head, row, key] → [batch, head, row]
    Unit      1, from 0 (all on one key) to 1 (even over the |S_i| keys that row i may see)
    Undefined for padding rows and where |S_i| = 1, as in the first row of a causal model
    Caveat    Divided by what the row can see, not by the text's length: ln n would make every causal head look
              focused. Rows that sum to less than 1 (learned sinks) are taken as they are: they stay below 1
              even when even, but for rows of two keys, which can reach 1.06.
    Source    Clark et al. 2019, "What Does BERT Look At?" for the entropy of their α_ij, our A_ij; the divisor
              is ours

    A row that gives 1/2, 1/2, 0, 0 to four visible keys has ln 2 / ln 4 = 0.5.
    """
    return where_defined(rows.real & (rows.visible_count > 1), nats(rows) / rows.visible_count.log())


METRIC = row_metric(
    entropy_normalized, unit="1", range=(0.0, 1.0), source="Clark et al. 2019, divided by ln |S_i|", needs=NEEDS_NATS
)
