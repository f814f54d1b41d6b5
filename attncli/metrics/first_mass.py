import torch

from attncli.data import Metric, Rows, Visibility
from attncli.metrics._shared import AnyRows, cached, where_defined


def first_mass(rows: AnyRows) -> torch.Tensor:
    """How much attention goes to the first token?

    Formula   A_i,0
    Axes      weights [batch, head, row, key] → [batch, head, row]
    Unit      1, from 0 to 1 (all of it)
    Undefined for padding rows, rows for which key 0 is masked (sliding windows), and rows that see only one key,
              which have no choice
    Caveat    Early causal rows give the first token much because they see few other keys.
    Source    Xiao et al. 2023, "Efficient Streaming Language Models with Attention Sinks" (StreamingLLM), and
              Gu et al. 2024, "When Attention Sink Emerges in Language Models", whose A_i,1 is our A_i,0

    Row 2 with weights 1/2, 1/4, 1/4 has first_mass 1/2.
    """
    defined = (_first_visible(rows.visibility) > 0) & (rows.visible_count > 1)
    return where_defined(defined, rows.factor * _first_raw(rows))


@cached
def _first_raw(rows: Rows) -> torch.Tensor:
    """Return the raw weight on the first key: [batch, head, row], arbitrary where it is masked."""
    if rows.visibility.slices is not None:  # a block that does not begin with key 0 does not see it
        return rows.raw[..., 0]
    return rows.raw_at(_find_first(rows.visibility)[0]).squeeze(-1)


@cached
def _first_visible(visibility: Visibility) -> torch.Tensor:
    return _find_first(visibility)[1].squeeze(-1)


@cached
def _find_first(visibility: Visibility) -> tuple[torch.Tensor, torch.Tensor]:
    return visibility.find_keys(torch.zeros_like(visibility.query_positions)[..., None])


METRIC = Metric(
    first_mass,
    "row",
    label="to the first token",
    source="Xiao et al. 2023; Gu et al. 2024",
    needs=(_first_raw,),
    needs_visibility=(_first_visible,),
)
