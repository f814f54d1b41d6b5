"""The weight of a token on special tokens."""

from __future__ import annotations

import torch

from attncli.data import Rows, RowSums, Visibility
from attncli.metrics._declare import row_metric
from attncli.metrics._shared import against, once, where_defined


def special_mass(rows: Rows | RowSums) -> torch.Tensor:
    """How much attention goes to special tokens such as [CLS] and [SEP]?

    Formula   Σ_{j special} A_ij
    Axes      weights [batch, head, row, key] → [batch, head, row]
    Unit      1, from 0 to 1 (all of it)
    Undefined for padding rows, and in texts whose keys hold no special token
    Caveat    Attention to separators is often a way to attend to nothing; it says little about the separator.
    Source    Clark et al. 2019, "What Does BERT Look At?"; their α_ij is our A_ij

    Over [CLS], cat, [SEP] a row that gives 1/2, 1/4, 1/4 has special_mass 3/4.
    """
    return where_defined(rows.real & (_has(rows.visibility) > 0), rows.factor * _sum(rows))


@once
def _sum(rows: Rows) -> torch.Tensor:
    """Of the rows before they are scaled."""
    if not any(rows.visibility.special_counts):
        return torch.zeros_like(rows.factor)
    return against(rows.raw, rows.special_keys & (rows.key_positions >= 0))


@once
def _has(visibility: Visibility) -> torch.Tensor:
    """Whether the text has special tokens."""
    has = torch.tensor(visibility.special_counts, device=visibility.query_positions.device) > 0
    return has[:, None, None].expand(-1, 1, visibility.query_positions.shape[1])


METRIC = row_metric(special_mass, unit="1", range=(0.0, 1.0), source="Clark et al. 2019", needs=(_sum,), views=(_has,))
