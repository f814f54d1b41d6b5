"""The largest weight of a row."""

from __future__ import annotations

import torch

from attncli.data import Rows, RowSums
from attncli.metrics._declare import row_metric
from attncli.metrics._shared import largest, where_defined


def confidence(rows: Rows | RowSums) -> torch.Tensor:
    """How much attention does a token give to its favourite?

    Formula   max_j A_ij
    Axes      weights [batch, head, row, key] → [batch, head, row]
    Unit      1, from 1/|S_i| (even over the |S_i| keys that row i may see) to 1 (all on one key)
    Undefined for padding rows
    Caveat    A head that parks its attention on a separator or the first token is confident too: see
              special_mass and sink.
    Source    Voita et al. 2019, "Analyzing Multi-Head Self-Attention"; their maximum attention weight is our
              max_j A_ij. (They leave out the end-of-sentence token; we keep every visible key.)

    A row that gives 1/2, 1/4, 1/4 has confidence 1/2.
    """
    return where_defined(rows.real, largest(rows))


METRIC = row_metric(confidence, unit="1", range=(0.0, 1.0), source="Voita et al. 2019", needs=(largest,))
