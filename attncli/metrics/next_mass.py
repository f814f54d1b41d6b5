"""The weight of a token on the one after it."""

from __future__ import annotations

import torch

from attncli.data import Rows, RowSums
from attncli.metrics._declare import row_metric
from attncli.metrics._shared import SELF, mass_at


def next_mass(rows: Rows | RowSums) -> torch.Tensor:
    """How much attention goes to the token just after?

    Formula   A_i,i+1
    Axes      weights [batch, head, row, key] → [batch, head, row]
    Unit      1, from 0 to 1 (all of it)
    Undefined for padding rows, in cross-attention, for the last token, and where that key is not visible, so in every
              row of a causal model
    Caveat    A local head that looks to both sides scores here too: compare with diagonal_offset.
    Source    Clark et al. 2019, "What Does BERT Look At?", their α_ij is our A_ij. (They divide by n; we
              take the mean over the rows that have such a key.)

    Row 0 that gives 1/4, 3/4 has next_mass 3/4; the last row has none.
    """
    return mass_at(rows, 1)


METRIC = row_metric(next_mass, unit="1", range=(0.0, 1.0), source="Clark et al. 2019", kinds=SELF, needs=())
