"""The weight of a token on the first key."""

from __future__ import annotations

import torch

from attncli.data import Rows, RowSums, Visibility
from attncli.metrics._declare import row_metric
from attncli.metrics._shared import once, where_defined


def first_mass(rows: Rows | RowSums) -> torch.Tensor:
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
    return where_defined((_seen(rows.visibility) > 0) & (rows.visible_count > 1), rows.factor * _weight(rows))


@once
def _weight(rows: Rows) -> torch.Tensor:
    """Of the rows before they are scaled."""
    if rows.visibility.runs is not None:  # where the block does not begin with key 0, nothing of it is seen
        return rows.raw[..., 0]
    return rows.raw_on(_first(rows.visibility)[0]).squeeze(-1)


@once
def _seen(visibility: Visibility) -> torch.Tensor:
    return _first(visibility)[1].squeeze(-1)


@once
def _first(visibility: Visibility) -> tuple[torch.Tensor, torch.Tensor]:
    return visibility.slots(torch.zeros_like(visibility.query_positions)[..., None])


METRIC = row_metric(
    first_mass, unit="1", range=(0.0, 1.0), source="Xiao et al. 2023; Gu et al. 2024", needs=(_weight,), views=(_seen,)
)
