import torch

from attncli.data import MAX_OFFSET, Metric
from attncli.metrics._shared import LOCAL_WINDOW, SELF_ATTENTION, AnyRows, where_defined


def local_mass(rows: AnyRows, window: int = LOCAL_WINDOW) -> torch.Tensor:
    """How much attention stays within two tokens?

    Formula   Σ_{j: |i-j| <= window} A_ij, with a window of 2 unless another is given
    Axes      weights [batch, head, row, key] → [batch, head, row]
    Unit      1, from 0 to 1 (all of it)
    Undefined for padding rows and in cross-attention
    Caveat    In a text of three tokens everything is local; uniform attention over n keys has about 5/n.
    Source    the local heads of Clark et al. 2019 and Kovaleva et al. 2019; their α_ij is our A_ij

    Row 0 with weight 1/4 on each of keys 0, 1, 2 and 3 has local_mass 3/4.
    """
    weights, visible = (part[..., MAX_OFFSET - window : MAX_OFFSET + window + 1] for part in rows.near)
    return where_defined(rows.real, (weights * visible).sum(-1, dtype=torch.float64))


METRIC = Metric(
    local_mass,
    "row",
    label="within two tokens",
    source="Clark et al. 2019; Kovaleva et al. 2019",
    kinds=SELF_ATTENTION,
    needs=(),
)
