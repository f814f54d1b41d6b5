"""Entropy of a row of attention."""

from __future__ import annotations

import torch

from attncli.data import Rows, RowSums
from attncli.metrics._declare import row_metric
from attncli.metrics._shared import NEEDS_NATS, nats, where_defined


def entropy(rows: Rows | RowSums) -> torch.Tensor:
    """How widely does a token spread its attention?

    Formula   -Σ_j A_ij ln A_ij, with 0 ln 0 = 0
    Axes      weights [batch, head, row, key] → [batch, head, row]
    Unit      nat, from 0 (all on one key) to ln |S_i| (even over the |S_i| keys that row i may see)
    Undefined for padding rows
    Caveat    Causal rows see few keys early on and have low entropy there for that reason alone: compare with
              entropy_normalized. Rows of models with a learned sink sum to less than 1; the sink is left out
              and nothing is scaled up (a row of one or two keys can then exceed ln |S_i| a little).
    Source    Clark et al. 2019, "What Does BERT Look At?", their α_ij is our A_ij. (They first smooth by
              0.9999 A + 0.0001/n; we do not.)

    A row that gives 1/2, 1/4, 1/4 has ½ ln 2 + 2 · ¼ ln 4 = 1.5 ln 2 = 1.0397 nat.
    """
    return where_defined(rows.real, nats(rows))


METRIC = row_metric(entropy, unit="nat", range=(0.0, None), source="Clark et al. 2019", needs=NEEDS_NATS)
