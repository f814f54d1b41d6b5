"""What a row lacks to 1."""

from __future__ import annotations

import torch

from attncli.data import Rows, RowSums
from attncli.metrics._declare import row_metric
from attncli.metrics._shared import SUMS, row_sum, where_defined


def missing_mass(rows: Rows | RowSums) -> torch.Tensor:
    """How much attention goes to no token at all?

    Formula   1 - Σ_j A_ij
    Axes      weights [batch, head, row, key] → [batch, head, row]
    Unit      1, from 0 (all attention is on tokens) to 1 (none is)
    Undefined for padding rows
    Caveat    Only models with a learned sink (gpt-oss and others) or with one softmax over several kinds of keys
              have any; for all others it is rounding near 0, of either sign.
    Source    the learned sink logit of Agarwal et al. 2025, "gpt-oss-120b & gpt-oss-20b Model Card": its column
              of the softmax is dropped and our A_ij are the rest

    A row that gives 1/2 and 1/4 to its two keys has missing_mass 1/4.
    """
    return where_defined(rows.real, 1.0 - row_sum(rows))


METRIC = row_metric(missing_mass, unit="1", range=(0.0, 1.0), source="the column dropped by learned sinks", needs=SUMS)
