import torch

from attncli.data import Metric, Rows, Visibility
from attncli.metrics._shared import AnyRows, cached, weighted_sum, where_defined


def special_mass(rows: AnyRows) -> torch.Tensor:
    """How much attention goes to special tokens such as [CLS] and [SEP]?

    Formula   Σ_{j special} A_ij
    Axes      weights [batch, head, row, key] → [batch, head, row]
    Unit      1, from 0 to 1 (all of it)
    Undefined for padding rows, and in texts whose keys include no special token
    Caveat    Attention to separators is often a way to attend to nothing; it says little about the separator.
    Source    Clark et al. 2019, "What Does BERT Look At?"; their α_ij is our A_ij

    Over [CLS], cat, [SEP] a row with weights 1/2, 1/4, 1/4 has special_mass 3/4.
    """
    return where_defined(rows.real & (_has_special(rows.visibility) > 0), rows.factor * _special_sum(rows))


@cached
def _special_sum(rows: Rows) -> torch.Tensor:
    """Return the sum of the raw weights on special tokens: [batch, head, row]."""
    if not any(rows.visibility.special_counts):
        return torch.zeros_like(rows.factor)
    return weighted_sum(rows.raw, rows.visibility.special_keys & (rows.key_positions >= 0))


@cached
def _has_special(visibility: Visibility) -> torch.Tensor:
    """Return whether the text of each row has special tokens: [batch, 1, row] bool."""
    has_special = torch.tensor(visibility.special_counts, device=visibility.query_positions.device) > 0
    return has_special[:, None, None].expand(-1, 1, visibility.query_positions.shape[1])


METRIC = Metric(
    special_mass,
    "row",
    label="to special tokens",
    source="Clark et al. 2019",
    needs=(_special_sum,),
    needs_visibility=(_has_special,),
)
