"""The weight of a token on the first key."""

from __future__ import annotations

import torch

from attncli.data import Rows
from attncli.metrics._declare import row_metric
from attncli.metrics._shared import where_defined


def first_mass(rows: Rows) -> torch.Tensor:
    """How much attention is parked on the first token?

    Formula   A_i,0
    Axes      weights [batch, head, row, key] → [batch, head, row]
    Unit      1, from 0 to 1 (all of it)
    Undefined for padding rows, rows that may not see key 0 (sliding windows), and rows that see only one key,
              which have no choice
    Caveat    Early causal rows give the first token much because they see little else.
    Source    Xiao et al. 2023, "Efficient Streaming Language Models with Attention Sinks" (StreamingLLM), and
              Gu et al. 2024, "When Attention Sink Emerges in Language Models", whose A_i,1 is our A_i,0

    Row 2 that gives 1/2, 1/4, 1/4 has first_mass 1/2.
    """
    weights, visible = rows.at(torch.zeros_like(rows.query_positions)[..., None])
    return where_defined(visible[..., 0] & (rows.visible_count > 1), weights[..., 0])


METRIC = row_metric(first_mass, unit="1", range=(0.0, 1.0), source="Xiao et al. 2023; Gu et al. 2024")
