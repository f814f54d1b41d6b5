"""The weight of a token on itself."""

from __future__ import annotations

import torch

from attncli.data import Rows, RowSums
from attncli.metrics._declare import row_metric
from attncli.metrics._shared import SELF, mass_at


def self_mass(rows: Rows | RowSums) -> torch.Tensor:
    """How much attention does a token keep for itself?

    Formula   A_i,i
    Axes      weights [batch, head, row, key] → [batch, head, row]
    Unit      1, from 0 to 1 (all of it)
    Undefined for padding rows, in cross-attention, and where a row may not see its own token
    Caveat    The first row of a causal model sees nothing else and always has 1.
    Source    Clark et al. 2019, "What Does BERT Look At?", their α_ij is our A_ij. (They divide by n; we
              take the mean over the rows that have such a key.)

    Row 1 that gives 1/4, 3/4 has self_mass 3/4.
    """
    return mass_at(rows, 0)


METRIC = row_metric(self_mass, unit="1", range=(0.0, 1.0), source="Clark et al. 2019", kinds=SELF, needs=())
